"""``sweeper`` as its users start it: a process of its own, and what it leaves in its ledger."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from sweeper.ledger.ledger import Ledger, Record
from tests.sweep.plans import SMALL, SPACES

PATIENCE = 240.0
SLOWER = [o for o in SMALL if not o.startswith("budget")] + ["budget.max=4.5", "batch.size=4"]


class Command:
    """``sweeper`` as a user starts it, in a process group of its own."""

    def __init__(
        self,
        temporary: Path,
        *words: str | Path,
        program: Sequence[str] = ("sweeper.cli",),
        also: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            environment.pop(name, None)
        self.output = temporary / f"output-{time.monotonic_ns()}"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *program, *map(str, words)],
                env=environment | also,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def run(
    command: Callable[..., Command],
    out: Path,
    trials: int,
    *words: str,
    address: str = "local",
    program: Sequence[str] = ("sweeper.cli",),
    also: Mapping[str, str] = MappingProxyType({}),
) -> Command:
    """Sweep ``ttur.yaml`` on digits, with trials that take seconds."""
    overrides = [word for override in SLOWER for word in ("--set", override)]
    space = SPACES / "ttur.yaml"
    return command(
        "run",
        space,
        "--out",
        out,
        "--trials",
        str(trials),
        "--address",
        address,
        *overrides,
        *words,
        program=program,
        also=also,
    )


def records(folder: Path) -> list[Record]:
    if not (folder / "ledger.sqlite").exists():
        return []
    try:
        ledger = Ledger(folder, write=False)
    except (sqlite3.Error, RuntimeError):
        return []
    try:
        return ledger.records
    finally:
        ledger.close()


def until(condition: Callable[[], bool], running: Command) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert running.process.poll() is None, running.text()
        assert time.monotonic() < deadline, running.text()
        time.sleep(0.05)


def pids(name: str, session: int) -> list[int]:
    """The live processes of a session whose command begins with a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        # What has ended stays in the table until somebody asks how.
        if (
            state != "Z"
            and int(of) == session
            and command.startswith(name)
            and "IDLE" not in command
        ):
            found.append(int(folder.name))
    return found
