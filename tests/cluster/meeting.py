"""Trials that wait for one another: a file of techniques, and the command that uses it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.sweep.plans import SMALL, SPACES

SOURCE = '''"""Trials that wait for one another."""

from __future__ import annotations

import os
import time
from pathlib import Path

import ray

from sweeper.catalog.families import tricks
from sweeper.game import Batch, Networks, Trick

FOLDER, N, PATIENCE = Path({folder!r}), {n}, {patience}


@tricks.register(facts={{"stage": 60}})
class Meeting(Trick):
    """Waits until so many trials train at once, and notes where each of them does."""

    def setup(self, networks: Networks, batch: Batch) -> None:
        context = ray.get_runtime_context()
        gpus = ",".join(context.get_accelerator_ids()["GPU"])
        (FOLDER / str(os.getpid())).write_text(f"{{context.get_node_id()}} {{gpus}}")
        deadline = time.monotonic() + PATIENCE
        while len(list(FOLDER.iterdir())) < N:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{{len(list(FOLDER.iterdir()))}} of {{N}} trials came")
            time.sleep(0.1)
'''


def command(
    folder: Path, address: str, *words: str, trials: int, n: int, patience: float, name: str
) -> list[str]:
    """A sweep of tiny trials, ``n`` of which meet; where each is is noted in ``folder / met``."""
    (folder / "met").mkdir(parents=True)
    file = folder / "meeting.py"
    file.write_text(SOURCE.format(folder=str(folder / "met"), n=n, patience=patience))
    settings = (*SMALL, "tricks.meeting={}")
    return [
        *(sys.executable, "-W", "ignore", "-m", "sweeper.cli", "run", str(SPACES / "ttur.yaml")),
        *("--address", address, "--out", str(folder), "--name", name, "--use", str(file)),
        *("--trials", str(trials)),
        *(word for setting in settings for word in ("--set", setting)),
        *words,
    ]


def met(folder: Path) -> Counter[str]:
    """How many trials were on each GPU of each node."""
    return Counter(file.read_text() for file in (folder / "met").iterdir())
