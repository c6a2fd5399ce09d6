"""Sweeps of an objective whose effects and whose noise are known, as an adaptive sampler runs
them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.report.ranking import Row, Sweep

NOISE = 0.2
"""What another seed changes, as a share of the score."""
LOSSES = {"hinge": 0.0, "non_saturating": 0.12, "least_squares": 0.3}
CODINGS = {"zero_one": 0.1, "pearson": -0.1}
RANGE = {"kind": "float", "log": True}
PARAMETERS: list[dict[str, Any]] = [
    {"name": "generator.optimizer.adam.lr", "low": 1e-4, "high": 1e-2, **RANGE},
    {"name": "discriminator.normalization", "kind": "choice", "choices": ["none", "batch_norm"]},
    {"name": "loss", "kind": "choice", "choices": list(LOSSES)},
    {"name": "loss.least_squares.coding", "kind": "choice", "choices": list(CODINGS)},
    {"name": "regularizers.r1_penalty", "kind": "choice", "choices": [False, True]},
    {"name": "regularizers.r1_penalty.gamma", "low": 0.1, "high": 10.0, **RANGE},
    {"name": "schedule.d_steps", "kind": "int", "low": 1, "high": 5, "log": False},
    {"name": "tricks.ema", "kind": "choice", "choices": [False, True]},
]
TRUTH = {
    ("generator.optimizer.adam.lr", "above 0.001", "below 0.001"): 0.2,
    ("discriminator.normalization", "batch_norm", "none"): -0.25,
    ("loss", "non_saturating", "hinge"): 0.12,
    ("loss", "least_squares", "hinge"): 0.3,
    ("loss.least_squares.coding", "pearson", "zero_one"): -0.2,
    ("regularizers.r1_penalty", "true", "false"): -0.05,
    ("regularizers.r1_penalty.gamma", "above 1", "below 1"): 0.1,
    ("schedule.d_steps", "above 3", "below 3"): 0.0,
    ("tricks.ema", "true", "false"): 0.0,
}
"""What each choice adds to the log of the score, averaged over all others."""

Params = dict[str, Any]


def objective(params: Params) -> float:
    """The log of the score without noise."""
    lr = math.log10(params["generator.optimizer.adam.lr"]) + 3
    y = 3.0 + 0.2 * lr + 0.3 * (lr * lr - 1 / 3)
    y -= 0.25 * (params["discriminator.normalization"] == "batch_norm")
    y += LOSSES[params["loss"]] + CODINGS.get(params.get("loss.least_squares.coding", ""), 0.0)
    if params["regularizers.r1_penalty"]:
        y += -0.05 + 0.1 * math.log10(params["regularizers.r1_penalty.gamma"])
    return y


def applies(name: str, params: Params) -> bool:
    """Whether the branch of a parameter was chosen."""
    if name == "loss.least_squares.coding":
        return bool(params["loss"] == "least_squares")
    if name == "regularizers.r1_penalty.gamma":
        return bool(params["regularizers.r1_penalty"])
    return True


def value(spec: dict[str, Any], share: float) -> Any:
    """The value of a parameter at a share of its range."""
    if spec["kind"] == "choice":
        return spec["choices"][min(int(share * len(spec["choices"])), len(spec["choices"]) - 1)]
    low, high = spec["low"], spec["high"]
    if spec["kind"] == "int":
        return min(low + int(share * (high - low + 1)), high)
    return low * (high / low) ** share


def balanced(rng: np.random.Generator, rows: int) -> list[list[float]]:
    """Shares such that each option of a choice comes equally often; ranges are stratified."""
    columns = [(rng.permutation(rows) + rng.random(rows)) / rows for _ in PARAMETERS]
    return [list(row) for row in np.stack(columns, 1)]


def adaptive(rng: np.random.Generator, seen: list[tuple[list[float], float]]) -> list[float]:
    """A draw near one of the best quarter so far, which one far from the others is preferred to:
    what TPE does, greedily."""
    order = sorted(seen, key=lambda pair: pair[1])
    good = order[: max(2, len(order) // 4)]
    new = []
    for i in range(len(PARAMETERS)):
        if rng.random() < 0.15:
            new.append(float(rng.random()))
            continue
        centre = good[rng.integers(len(good))][0][i]
        new.append(float(np.clip(centre + 0.1 * rng.normal(), 0, 1 - 1e-9)))
    return new


def sweep(seed: int, trials: int, design: int, truth: Any = objective) -> Sweep:
    """A sweep of so many trials: first a balanced design, then an adaptive search."""
    rng = np.random.default_rng(seed)
    rows, measured = list[Row](), list[Row]()
    seen = list[tuple[list[float], float]]()
    first = balanced(rng, design)
    for number in range(trials):
        shares = first[number] if number < design else adaptive(rng, seen)
        params: Params = {}
        for spec, share in zip(PARAMETERS, shares, strict=True):
            if applies(spec["name"], params):
                params[spec["name"]] = value(spec, share)
        log = truth(params) + NOISE * rng.normal()
        seen.append((shares, log))
        rows.append(trial(number, "balanced" if number < design else "search", params, log))
        measured.append(measurement(number, log))
    plan = {"metric": "fid", "horizon_kimg": 9, "parameters": PARAMETERS}
    return Sweep(Path(), plan, rows, measured)


def trial(number: int, role: str, params: Params, log: float, **more: Any) -> Row:
    """A row of trials.parquet."""
    about = {"trial": number, "name": f"t{number:03d}", "state": "completed", "baseline": None}
    about |= {"role": role, "of": None, "score": math.exp(log), "images": 9000, "heldout": None}
    about |= {"protocol": "p", "config": "{}", "seconds": 1.0, "best_images": 9000}
    return about | {f"param.{s['name']}": params.get(s["name"]) for s in PARAMETERS} | more


def measurement(number: int, log: float, images: int = 9000) -> Row:
    """A row of measurements.parquet."""
    return {"trial": number, "images": images, "score": math.exp(log), "best": math.exp(log)}
