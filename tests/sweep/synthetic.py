"""A sweep that never ran: its plan, its ledger and its sheets, with the same numbers every time."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

from sweeper.ledger.ledger import Ledger

RUNGS = [3200, 9600]
HORIZON = 28800
EVERY = 3200

PLAN: dict[str, Any] = {
    "version": "0.1.0",
    "id": "0123456789ab",
    "name": "ttur-2",
    "space": "ttur",
    "data": {"name": "digits", "examples": 1797, "shape": [1, 8, 8], "digest": "d" * 16},
    "metric": "fid_digits",
    "mode": "min",
    "protocol": {"samples": 1000},
    "protocol_hash": "abcdef0123",
    "full_protocol": {"samples": 2000},
    "full_protocol_hash": "0123abcdef",
    "horizon_kimg": HORIZON / 1000,
    "every_kimg": EVERY / 1000,
    "rungs": RUNGS,
    "factor": 3,
    "trials": 6,
    "seed": 0,
    "method": "tpe",
    "parameters": [
        {
            "name": "generator.optimizer.adam.lr",
            "kind": "float",
            "log": True,
            "low": 1e-4,
            "high": 1e-2,
        },
        {
            "name": "discriminator.optimizer.adam.lr.ratio",
            "kind": "float",
            "log": True,
            "low": 0.25,
            "high": 8.0,
        },
        {"name": "loss", "kind": "choice", "choices": ["hinge", "non_saturating"]},
        {"name": "regularizers.r1_penalty", "kind": "choice", "choices": [False, True]},
        {
            "name": "regularizers.r1_penalty.gamma",
            "kind": "float",
            "log": True,
            "low": 0.1,
            "high": 10.0,
        },
        {
            "name": "schedule.alternating_update.d_steps",
            "kind": "int",
            "log": False,
            "low": 1,
            "high": 5,
        },
    ],
    "baselines": ["DCGAN default"],
    "created": 1_700_000_000.0,
    "command": "sweeper run search_spaces/ttur.yaml",
}

ENDS = ["completed", "completed", "stopped", "stopped", "diverged", "failed"]


def fill(ledger: Ledger, folder: Path) -> None:
    """Run the six trials of the plan: the first is the baseline, and each ends in its own way."""
    (folder / "sweep.json").write_text(json.dumps(PLAN))
    for number, end in enumerate(ENDS):
        params = draw(number)
        ledger.add_trial(
            params, {"seed": 0, "params": params}, "DCGAN default" if not number else None
        )
        ledger.started(number)
        steps = {"completed": 9, "stopped": 3, "diverged": 2, "failed": 1}[end]
        for step in range(EVERY, EVERY * steps + 1, EVERY):
            measure(ledger, folder, number, step)
        ledger.ended(number, end, f"it was {end}")  # type: ignore[arg-type]


def draw(number: int) -> dict[str, Any]:
    source = random.Random(number)
    params = {
        "generator.optimizer.adam.lr": 10 ** source.uniform(-4, -2),
        "discriminator.optimizer.adam.lr.ratio": 2 ** source.uniform(-2, 3),
        "loss": source.choice(["hinge", "non_saturating"]),
        "regularizers.r1_penalty": bool(number % 2),
        "schedule.alternating_update.d_steps": source.randint(1, 5),
    }
    if number % 2:
        params["regularizers.r1_penalty.gamma"] = 10 ** source.uniform(-1, 1)
    return params


def score(number: int, step: int) -> float:
    return 20 + 40 * number + 200 * EVERY / step


def measure(ledger: Ledger, folder: Path, number: int, step: int) -> None:
    value = score(number, step)
    data = {
        "images": step,
        "score": value,
        "best": value,
        "losses": {
            "discriminator.adversarial": 1.0 + 1 / step + 0.1 * number,
            "generator.adversarial": 0.7 + step / 1e5,
        },
        "seconds": step / 500,
        "images_per_second": 500.0 + number,
        "heldout": value + 1 if step == HORIZON else None,
    }
    ledger.measured(number, 1, step, value, "continue", data)
    samples = folder / "trials" / f"{number:05d}" / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    colour = (40 * number, step // 120, 128)
    Image.new("RGB", (132, 132), colour).save(samples / f"{step:012d}.png")
