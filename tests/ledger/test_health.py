"""The rules of health: each speaks of sweeps that have what it looks for, and of no others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweeper.ledger.health import Seen, health

PLAN: dict[str, Any] = {
    "rungs": [1000, 3000],
    "parameters": [
        {"name": "lr", "kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
        {"name": "d_steps", "kind": "int", "low": 1, "high": 5, "log": False},
        {"name": "loss", "kind": "choice", "choices": ["hinge", "wasserstein"]},
    ],
}
SEEDS = range(60)


def said(trials: list[Seen], counts: dict[str, int] | None = None) -> dict[str, str]:
    return {one.rule: one.says for one in health(PLAN, trials, counts or {})}


def often(make: Callable[[int], list[Seen]], rule: str) -> float:
    """In which share of sweeps a rule speaks."""
    return float(np.mean([rule in said(make(seed)) for seed in SEEDS]))


def seen(number: int, log: float, params: dict[str, Any] | None = None, **more: Any) -> Seen:
    """A trial that was trained to the end, where it is as it was all the way."""
    curve = [(at, math.exp(log)) for at in (1000, 3000, 9000)]
    whole = Seen(number, None, "search", None, "completed", math.exp(log), params or {}, curve)
    return replace(whole, **more)


def searched(seed: int, best: float, effect: float = 1.0, noise: float = 0.1) -> list[Seen]:
    """A search at random, of which the best rate stands at a place from -1 to 1."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(40):
        place, steps = rng.uniform(-1, 1), int(rng.integers(1, 6))
        params = {"lr": 10 ** (-3 + place), "d_steps": steps, "loss": str(rng.integers(2))}
        trials.append(seen(number, effect * (place - best) ** 2 + noise * rng.normal(), params))
    return trials


def test_an_optimum_beyond_a_range_puts_the_best_on_its_edge() -> None:
    assert often(lambda seed: searched(seed, 1.3), "edge") > 0.8
    assert often(lambda seed: searched(seed, 0.0), "edge") <= 0.05
    assert often(lambda seed: searched(seed, 0.0, effect=0.0), "edge") <= 0.05
    assert said(searched(0, 1.5))["edge"].startswith("lr sits on the upper edge of its range: ")
    assert said(searched(0, -1.5))["edge"].startswith("lr sits on the lower edge of its range: ")


def confirming(trials: list[Seen], seed: int, noise: float) -> list[Seen]:
    """The same with three fresh seeds of the first four."""
    rng = np.random.default_rng(1000 + seed)
    fresh = [
        seen(len(trials) + k, math.log(trials[k % 4].score or 1) + noise * rng.normal())
        for k in range(12)
    ]
    return trials + [replace(t, role="confirm", of=k % 4) for k, t in enumerate(fresh)]


def test_configurations_that_differ_as_seeds_do_cannot_be_told_apart() -> None:
    alike = [confirming(searched(seed, 0.0, 0.0, 0.2), seed, 0.2) for seed in SEEDS]
    unlike = [confirming(searched(seed, 0.0, 2.0, 0.1), seed, 0.1) for seed in SEEDS]
    assert np.mean(["noise" in said(trials) for trials in alike]) > 0.85
    assert np.mean(["noise" in said(trials) for trials in unlike]) <= 0.05
    assert "noise" not in said(searched(0, 0.0, 0.0))  # whose noise is not known


def halved(seed: int, agreement: float) -> list[Seen]:
    """A search of which a rung stops two in three, whose scores agree with the final ones so
    much."""
    rng = np.random.default_rng(seed)
    final = rng.normal(size=60)
    early = agreement * final + math.sqrt(1 - agreement**2) * rng.normal(size=60)
    goes_on = early <= np.sort(early)[19]
    trials = []
    for number in range(60):
        curve = [(1000, math.exp(3 + early[number]))]
        if goes_on[number]:
            curve += [(3000, math.exp(final[number])), (9000, math.exp(final[number]))]
        state = "completed" if goes_on[number] else "stopped"
        one = seen(number, final[number], {}, curve=curve, state=state, score=curve[-1][1])
        trials.append(one)
    return trials


def test_a_rung_that_says_little_of_the_end_is_found_though_it_stopped_most() -> None:
    assert often(lambda seed: halved(seed, 0.1), "rungs") > 0.6
    assert often(lambda seed: halved(seed, 0.9), "rungs") <= 0.05
    assert said(halved(1, 0.0))["rungs"].startswith("the rank correlation of rung 1 with the final")


def test_a_baseline_that_nothing_beats_is_said() -> None:
    trials = searched(0, 0.0)
    base = seen(40, -5.0, role="baseline", baseline="DCGAN default")
    assert said([*trials, base])["baseline"] == "no trial of 40 beats the baseline DCGAN default"
    assert "baseline" not in said([*trials, replace(base, score=100.0)])
    assert "baseline" not in said([*trials, replace(base, state="diverged")])
    assert "baseline" not in said([*trials[:11], base])


def test_an_option_that_always_breaks_is_named() -> None:
    trials = searched(0, 0.0)
    breaking = [replace(t, state="diverged") if t.params["loss"] == "1" else t for t in trials]
    n = sum(t.params["loss"] == "1" for t in trials)
    assert said(breaking)["option"] == f"loss 1 broke in all of its {n} trials"
    assert "option" not in said([replace(t, state="diverged") for t in trials])  # all do
    one = next(t for t in breaking if t.state == "diverged")
    spared = [replace(t, state="completed") if t is one else t for t in breaking]
    assert "option" not in said(spared)


def test_laws_that_most_draws_break_are_said() -> None:
    trials = searched(0, 0.0)
    found = said(trials, {"rejected: a GAN has a loss": 100, "rejected: other": 30, "lost": 9})
    assert found["rejected"] == (
        "draws broke laws 130 times for 40 trials, most often: a GAN has a loss"
    )
    assert "rejected" not in said(trials, {"rejected: a GAN has a loss": 100})


@pytest.mark.parametrize("trials", [[], searched(0, 1.5)[:5], [seen(0, 1.0, state="running")]])
def test_little_is_nothing_to_judge_by(trials: list[Seen]) -> None:
    assert said(trials) == {}
