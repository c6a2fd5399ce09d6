#!/usr/bin/env python3
"""What the report of a thousand trials of fifty measurements takes, and what its page weighs.

Every trial has sample sheets and eight parameters, a third are stopped, some diverge. The folder is
made first and does not count; the report is then made by ``sweeper report``, in a process of its
own, whose time and highest memory are those of the command from start to end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from sweeper.ledger.ledger import Event, Record
from sweeper.ledger.tables import write_tables

HORIZON = 50_000
OPTIONS = ("hinge", "non_saturating", "least_squares", "wasserstein")
RANGES = ("generator.lr", "discriminator.lr", "beta1", "gamma", "sigma", "smoothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--measurements", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, args.trials, args.measurements)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "sweeper.cli", "report", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "report.html").stat().st_size
        print(f"{args.trials} trials x {args.measurements} measurements")
        print(f"  wall time      {seconds:6.1f} s, on {len(os.sched_getaffinity(0))} cores")
        print(f"  processor time {used.ru_utime + used.ru_stime:6.1f} s")
        print(f"  memory, peak   {used.ru_maxrss / 1024:6.0f} MiB")
        print(f"  the page       {page / 1e6:6.1f} MB")


def make(folder: Path, trials: int, measurements: int) -> None:
    """A results folder as a sweep leaves it."""
    draw = random.Random(0)
    parameters: list[dict[str, Any]] = [
        {"name": name, "kind": "float", "log": True, "low": 1e-4, "high": 1e-2} for name in RANGES
    ]
    parameters.append({"name": "loss", "kind": "choice", "choices": list(OPTIONS)})
    parameters.append({"name": "d_steps", "kind": "int", "log": False, "low": 1, "high": 5})
    plan = {
        "name": "large",
        "data": {"name": "none", "examples": 50_000, "shape": [3, 32, 32]},
        "metric": "fid",
        "protocol": {"features": "inception", "real": 50_000},
        "protocol_hash": "p",
        "horizon_kimg": HORIZON / 1000,
        "rungs": [HORIZON // 9, HORIZON // 3],
        "factor": 3,
        "trials": trials,
        "parameters": parameters,
        "baselines": ["default"],
        "command": "sweeper run large.yaml",
    }
    (folder / "sweep.json").write_text(json.dumps(plan))
    records = [record(draw, number, measurements) for number in range(trials)]
    write_tables(SimpleNamespace(records=records), folder, "p")  # type: ignore[arg-type]
    for trial in records:
        samples = folder / "trials" / f"{trial.number:05d}" / "samples"
        samples.mkdir(parents=True)
        best = samples / f"{trial.best_step:012d}.png"
        Image.effect_noise((272, 272), 60).save(best)


def record(draw: random.Random, number: int, measurements: int) -> Record:
    """A trial: its score falls to a floor that its parameters decide."""
    params: dict[str, Any] = {name: 10 ** draw.uniform(-4, -2) for name in RANGES}
    params |= {"loss": draw.choice(OPTIONS), "d_steps": draw.randint(1, 5)}
    floor = 10 + 20 * abs(math.log10(params["generator.lr"]) + 3) + OPTIONS.index(params["loss"])
    found = Record(number, None if number else "default", params, {"loss": params["loss"]}, 0.0)
    cut = number % 3 == 1
    best = math.inf
    for n in range(1, (measurements // 9 if cut else measurements) + 1):
        value = floor * (1 + 5 * math.exp(-6 * n / measurements)) * draw.uniform(0.97, 1.03)
        best = min(best, value)
        images = HORIZON * n // measurements
        data = {
            "best": best,
            "seconds": 2.0 * n * params["d_steps"],
            "images_per_second": 500.0,
            "d_steps": images // 64,
            "g_steps": images // 64 // params["d_steps"],
            "losses": {"generator.adversarial": 0.7, "discriminator.adversarial": 1.4},
        }
        found.add(Event(0, number, 1, "measured", images, value, "continue", data, 0.0))
    state = "stopped" if cut else "diverged" if number % 50 == 2 else "completed"
    found.add(Event(0, number, 1, "ended", images, value, state, {"reason": "it ended"}, 0.0))
    return found


if __name__ == "__main__":
    main()
