"""Results folders as a sweep leaves them, made by the ledger itself, with trials that never ran."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables

PLAN: dict[str, Any] = {
    "version": "0.1.0",
    "name": "ttur",
    "space": "ttur.yaml",
    "data": {"name": "digits", "examples": 1797, "shape": [1, 32, 32], "digest": "9f31c0de"},
    "metric": "fid_digits",
    "mode": "min",
    "protocol": {"features": "digits_classifier", "n_real": 898, "n_fake": 2048, "ema": True},
    "protocol_hash": "b7e21f4a90cd",
    "full_protocol": {"features": "digits_classifier", "n_real": 898, "n_fake": 10_000},
    "full_protocol_hash": "0c9a7be55d21",
    "horizon_kimg": 28.8,
    "every_kimg": 3.2,
    "rungs": [3200, 9600],
    "factor": 3,
    "trials": 24,
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
        {"name": "loss", "kind": "choice", "choices": ["hinge", "non_saturating"]},
        {"name": "schedule.d_steps", "kind": "int", "low": 1, "high": 3, "log": False},
    ],
    "baselines": ["DCGAN default"],
    "concurrency": 2,
    "engine": "ray",
    "command": "sweeper run search_spaces/ttur.yaml",
    "created": 1763690000.0,
}
Make = Callable[..., Path]


def trial(
    *scores: float, state: str = "completed", baseline: str | None = None, **more: Any
) -> dict[str, Any]:
    """A trial that was measured every 3.2 kimg, and how it ended."""
    lr = 1e-3 / (1 + len(scores))
    params = {"generator.optimizer.adam.lr": lr, "loss": "hinge", "schedule.d_steps": 1}
    return {"scores": scores, "state": state, "baseline": baseline, "params": params} | more


def write(
    folder: Path, trials: Sequence[dict[str, Any]], *, samples: bool = False, **plan: Any
) -> Path:
    """Write a results folder with these trials; keywords change the plan."""
    folder.mkdir()
    whole = PLAN | plan
    (folder / "sweep.json").write_text(json.dumps(whole), encoding="utf-8")
    with Ledger(folder) as ledger:
        for spec in trials:
            record(ledger, spec)
            if samples:
                sheets(folder, len(ledger.records) - 1, len(spec["scores"]))
        write_tables(ledger, folder, whole["protocol_hash"])
    return folder


def record(ledger: Ledger, spec: dict[str, Any]) -> None:
    number = ledger.add_trial(
        spec["params"],
        spec.get("config", {}),
        spec["baseline"],
        spec.get("warnings", ()),
        spec.get("role"),
        spec.get("of"),
    ).number
    if spec["state"] == "pending":
        return
    ledger.started(number)
    scores = spec["scores"]
    for i, score in enumerate(scores):
        data = {
            "best": min(scores[: i + 1]),
            "seconds": 10.0 * (i + 1),
            "images_per_second": 320.0,
            "losses": {"generator.loss": 0.7},
        }
        if i < len(spec.get("verdicts", ())):
            data["verdicts"] = spec["verdicts"][i]
        if i == len(scores) - 1 and "heldout" in spec:
            data["heldout"] = spec["heldout"]
        ledger.measured(number, 1, 3200 * (i + 1), score, "continue", data)
    if spec["state"] != "running":
        more = {"traceback": spec["traceback"]} if "traceback" in spec else {}
        ledger.ended(number, spec["state"], spec.get("reason", "it ended"), **more)


def sheets(folder: Path, number: int, measurements: int) -> None:
    place = folder / "trials" / f"{number:05d}" / "samples"
    place.mkdir(parents=True)
    for i in range(measurements):
        shade = (40 * number + 10 * i) % 256
        Image.new("L", (64, 64), shade).save(place / f"{3200 * (i + 1):012d}.png")
