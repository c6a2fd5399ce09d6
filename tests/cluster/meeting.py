"""Trials that wait for one another: ``sweeper`` with its workers' part simulated.

The driver, the ledger, the rungs, Tune and Ray are the product's. A trial notes where it is, waits
until so many are there at once, and reports a curve; it imports no torch, so that a dozen of them
start on two cores.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.sweep.plans import SMALL, SPACES

PATIENCE = 400.0


def simulated(config: dict[str, Any]) -> None:
    """One attempt at one trial."""
    import time

    import ray
    from ray import tune

    job, context = config["job"], ray.get_runtime_context()
    folder = Path(job["folder"]).parents[2] / "met"
    n = int((folder.parent / "meeting").read_text())
    gpus = ",".join(context.get_accelerator_ids()["GPU"])
    (folder / str(job["number"])).write_text(f"{context.get_node_id()} {gpus}")
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < n:
        assert time.monotonic() < deadline, "some trials did not come"
        time.sleep(0.1)
    every, horizon = (
        round(1000 * kimg)
        for kimg in (job["trial"]["evaluation"]["every_kimg"], job["trial"]["horizon_kimg"])
    )
    sweep = json.loads((Path(job["folder"]).parents[1] / "sweep.json").read_text())
    protocol = sweep["protocol_hash"]
    for images in range(every, horizon + every, every):
        score = 10 + 300 / images
        measured = {
            "kind": "measured",
            "images": min(images, horizon),
            "score": score,
            "best": score,
            "best_images": min(images, horizon),
            "losses": {},
            "seconds": 1.0,
            "images_per_second": 100.0,
            "heldout": score if images >= horizon else None,
            "protocol": protocol,
            "verdicts": [],
        }
        tune.report({"report": json.dumps(measured)})


def command(folder: Path, address: str, *words: str, n: int, name: str) -> list[str]:
    """A sweep of ``n`` trials in a folder, all of which meet; where each is is noted there."""
    (folder / "met").mkdir(parents=True)
    (folder / "meeting").write_text(str(n))
    settings = (*SMALL, "resources.gpu=0.25")
    return [
        *(sys.executable, "-W", "ignore", "-m", "tests.cluster.meeting", "run"),
        *(str(SPACES / "ttur.yaml"), "--address", address, "--out", str(folder), "--name", name),
        *("--trials", str(n)),
        *(word for setting in settings for word in ("--set", setting)),
        *words,
    ]


def met(folder: Path) -> list[int]:
    """How many trials were on each GPU of each node, ascending."""
    return sorted(Counter(file.read_text() for file in (folder / "met").iterdir()).values())


def main() -> None:
    from sweeper.sweep.tune import TUNE

    os.environ.update(TUNE)  # read when Ray is imported, as the next line does
    from sweeper.cli import main
    from sweeper.sweep import adapters

    adapters.trainable = simulated  # of this very program, hence shipped by value
    main()


if __name__ == "__main__":
    main()
