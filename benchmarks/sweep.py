#!/usr/bin/env python
"""How well two cores are used: two pinned trials beside one, and a sweep beside the ideal.

Two processes of one thread train a DCGAN on random images of 32 px at once; beside them are one
such process, and two that use torch's default of threads. All train as many images.

A sweep of ``ttur.yaml`` is run by ``sweeper run`` on a local Ray, with all that it keeps, and its
wall time is compared with the ideal, the CPU seconds of its trials over the cores, from the third
minute on until its last trial has ended. A trial's CPU is that of its worker, as the system counts
it: what a ledger has of a trial are seconds of wall time, which grow where the driver or MLflow
take a core away from it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from pairs import Row, Times, in_turns, told

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SPACE = Path(__file__).parents[1] / "search_spaces" / "ttur.yaml"
ROUNDS, QUICK_ROUNDS = 32, 4
"""Of 64 images, in all of the processes together."""
BLOCKS, QUICK_BLOCKS = 8, 2
SWEEPS = 3
TRIALS, QUICK_TRIALS = 120, 8
TOP, QUICK_TOP = 4, 0
"""Trials that are confirmed on fresh seeds; the space has four."""
SINCE, QUICK_SINCE = 120.0, 10.0
"""Seconds of a sweep after which its time counts."""
EVERY = 1.0
"""Seconds between two looks at what the processes took."""
TICK = os.sysconf("SC_CLK_TCK")
PINNED, ALONE, FREE = "two pinned", "one pinned", "two unpinned"
SWEEP, CPU = "the sweep", "CPU of its trials : cores"
CLOCKS = "its trials' own clocks : cores"


class Trainer:
    """A process that trains, so many rounds whenever it is told to. A pinned one has one thread,
    any other torch's default."""

    def __init__(self, cache: Path, *, pinned: bool) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ONE_THREAD}
        if pinned:
            environment |= dict.fromkeys(ONE_THREAD, "1")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--train", str(cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.communicate()

    def begin(self, rounds: int) -> None:
        assert self.process.stdin
        print(rounds, file=self.process.stdin, flush=True)

    def end(self) -> None:
        assert self.process.stdout
        if not self.process.stdout.readline():
            raise RuntimeError("a process that trains has ended")


def train(cache: Path) -> None:
    """Train as many rounds as each line of the input says, and answer with a line."""
    import torch
    from step import CASES, trial_of

    from sweeper.trial.loop import Training

    training = Training(trial_of(CASES["32"], cache), cache, threads=torch.get_num_threads())
    for line in sys.stdin:
        for _ in range(int(line)):
            training.round()
        print("done", flush=True)


def together(trainers: Sequence[Trainer], rounds: int) -> None:
    """Train so many rounds, shared among the processes."""
    for trainer in trainers:
        trainer.begin(rounds // len(trainers))
    for trainer in trainers:
        trainer.end()


def pinned(rounds: int, blocks: int) -> list[Row]:
    """Two trials at once beside one, and beside two that have not been pinned."""
    with TemporaryDirectory(prefix="sws-") as folder, ExitStack() as stack:
        bound, free = (
            [stack.enter_context(Trainer(Path(folder), pinned=is_pinned)) for _ in range(2)]
            for is_pinned in (True, False)
        )
        steps = {
            PINNED: lambda: together(bound, rounds),
            ALONE: lambda: together(bound[:1], rounds),
            FREE: lambda: together(free, rounds),
        }
        times = in_turns(steps, blocks, time.perf_counter)
    protocol = (
        f"wall time for {rounds * 64:,} images of 32 px, DCGAN of 32 channels, batch 64, by the "
        "processes together; pinned is to one thread, unpinned is torch's default"
    )
    return [
        times.row(
            PINNED, name, part="sweep", case="images of 32 px", protocol=protocol, at_least=least
        )
        for name, least in ((ALONE, 1.6), (FREE, None))
    ]


class Process(NamedTuple):
    parent: int
    seconds: float
    """Of CPU."""


def processes() -> dict[int, Process]:
    """All processes of this machine, by number."""
    return {int(path.name): found for path in Path("/proc").glob("[0-9]*") if (found := seen(path))}


def seen(path: Path) -> Process | None:
    """What the system says of a process, unless it is gone."""
    try:
        # Its name, in brackets, may hold anything.
        _, parent, *rest = path.joinpath("stat").read_text().rpartition(") ")[2].split()
    except (OSError, ValueError):
        return None
    return Process(int(parent), (int(rest[9]) + int(rest[10])) / TICK)


def below(root: int, found: Mapping[int, Process]) -> Iterator[int]:
    """The processes that descend from one."""
    for number, process in found.items():
        if process.parent == root:
            yield number
            yield from below(number, found)


def works(number: int) -> bool:
    """Whether a process is a worker of Ray's that runs trials."""
    try:
        name = Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False
    return name.startswith(b"ray::ImplicitFunc")


class Cpu(NamedTuple):
    """CPU seconds: of the workers that run trials, of the driver, and of the rest of Ray."""

    workers: float
    driver: float
    ray: float


@dataclass
class Meter:
    """What a process and those below it have taken, as time goes on."""

    root: int
    moments: list[float] = field(default_factory=list)
    looks: list[dict[int, float]] = field(default_factory=list)
    workers: set[int] = field(default_factory=set)

    def look(self) -> None:
        """See what each process has taken. What one took that is gone stays counted."""
        found = processes()
        family = [number for number in (self.root, *below(self.root, found)) if number in found]
        # One is named after what it runs, which is nothing at first.
        self.workers.update(filter(works, family))
        before = self.looks[-1] if self.looks else {}
        self.looks.append(before | {number: found[number].seconds for number in family})
        self.moments.append(time.time())

    def between(self, begun: float, ended: float) -> Cpu:
        """What was taken from a moment to another."""
        took = dict.fromkeys(Cpu._fields, 0.0)
        for number in self.looks[-1]:
            column = [look.get(number, 0.0) for look in self.looks]
            before, after = np.interp([begun, ended], self.moments, column)
            kind = "workers" if number in self.workers else "ray"
            took["driver" if number == self.root else kind] += float(after - before)
        return Cpu(**took)


class Used(NamedTuple):
    """What a sweep took from some moment on until its last trial ended: its wall time, that of its
    trials by their own clocks, and CPU."""

    wall: float
    clocks: float
    cpu: Cpu


def swept(trials: int, top: int, seed: int, since: float) -> Used:
    """Run a sweep, and see what it used after so many seconds."""
    with TemporaryDirectory(prefix="sws-") as folder:
        out, log = Path(folder), Path(folder, "log")
        words = ["--out", folder, "--name", "swept", "--data", "digits", "--address", "local"]
        chosen = ["--trials", str(trials), "--seed", str(seed), "--set", f"confirm.top={top}"]
        command = [sys.executable, "-m", "sweeper.cli", "run", str(SPACE), *words, *chosen]
        with (
            log.open("w") as written,
            subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT) as process,
        ):
            meter = Meter(process.pid)
            try:
                while process.poll() is None:
                    meter.look()
                    time.sleep(EVERY)
            finally:
                process.terminate()  # a sweep that is told so stops all that it began
        if process.returncode:
            raise RuntimeError(f"sweeper run fails:\n{log.read_text()[-3000:]}")
        return used(out / "swept", meter, since)


def used(folder: Path, meter: Meter, since: float) -> Used:
    from sweeper.ledger.ledger import Ledger

    with Ledger(folder, write=False) as ledger:
        begun, events = ledger.began + since, ledger.events
    ended = max(event.at for event in events if event.kind == "ended")
    if ended <= begun:
        raise RuntimeError(f"the sweep ended within {since:g} s: give it more trials")
    clocks, known = 0.0, dict[int, float]()
    for event in events:
        if event.kind == "measured":
            seconds = event.data["seconds"]
            if begun < event.at <= ended:
                clocks += seconds - known.get(event.trial, 0.0)
            known[event.trial] = seconds
    return Used(ended - begun, clocks, meter.between(begun, ended))


def ideal(trials: int, top: int, sweeps: int, since: float) -> list[Row]:
    """A sweep's wall time beside its trials' CPU seconds over the cores."""
    cores, seconds = os.cpu_count() or 1, np.zeros((sweeps, 3))
    for seed in range(sweeps):
        found = swept(trials, top, seed, since)
        cpu = found.cpu
        seconds[seed] = found.wall, cpu.workers / cores, found.clocks / cores
        shares = ", ".join(
            f"{name} {taken / (cores * found.wall):.0%}" for name, taken in cpu._asdict().items()
        )
        print(f"  sweep {seed + 1} of {sweeps}: of {cores} cores, {shares}", file=sys.stderr)
    times = Times((SWEEP, CPU, CLOCKS), seconds)
    protocol = (
        f"`sweeper run` of ttur.yaml on digits, {trials} trials, {top} confirmed, {cores} cores, "
        f"MLflow and ledger included; from {since:g} s on until the last trial has ended. "
        "The CPU is that of the workers; trials' clocks count wall time, waits for a core included"
    )
    return [
        times.row(
            SWEEP, name, part="sweep", case="a sweep's wall time", protocol=protocol, at_least=least
        )
        for name, least in ((CPU, 1 / 1.15), (CLOCKS, None))
    ]


def rows(quick: bool) -> list[Row]:
    if quick:
        return pinned(QUICK_ROUNDS, QUICK_BLOCKS) + ideal(QUICK_TRIALS, QUICK_TOP, 1, QUICK_SINCE)
    return pinned(ROUNDS, BLOCKS) + ideal(TRIALS, TOP, SWEEPS, SINCE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("pinned", "ideal"))
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="of pinned and other processes")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of training, in each step")
    parser.add_argument("--sweeps", type=int, default=SWEEPS)
    parser.add_argument("--trials", type=int, default=TRIALS, help="of a sweep")
    parser.add_argument("--top", type=int, default=TOP, help="that are confirmed")
    parser.add_argument("--since", type=float, default=SINCE, help="seconds that do not count")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        train(asked.train)
        return
    found = list[Row]()
    if asked.only != "ideal":
        found += pinned(asked.rounds, asked.blocks)
    if asked.only != "pinned":
        found += ideal(asked.trials, asked.top, asked.sweeps, asked.since)
    print(told(found))


if __name__ == "__main__":
    main()
