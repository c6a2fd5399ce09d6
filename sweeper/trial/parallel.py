"""Several processes that train one trial together, each on a device of its own, all on one node.

They hold the same networks and make the same moves; each computes its own rows of every batch, and
what it takes from the others makes that equal to one process with all rows. The first of them is
the worker that was asked for the trial. It starts the others, and they end with it.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from sweeper.game import ALONE, Ranks

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long the first rank waits for the others, whose steps take as long as its own."""
FOREVER = timedelta(days=365)
"""How long the others wait for the first, which measures, saves, and asks whether to go on."""
LAST_WORDS = 5.0
"""Seconds in which a rank that failed has ended, once another has noticed."""
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


class RankFailedError(RuntimeError):
    """One of the processes that train a trial together has raised something, and said what."""


class RankLostError(RuntimeError):
    """One of the processes that train a trial together has died."""


class Sum(torch.autograd.Function):
    """The sum over ranks. Of a loss that is the sum of all ranks' losses, its gradient is the sum
    of theirs: it is its own derivative, any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return summed(slope)


def summed(x: Tensor) -> Tensor:
    return cast(Tensor, Sum.apply(x))


class Group(Ranks):
    """One of several ranks."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def own(self, rows: Tensor) -> Tensor:
        return rows[self.rank :: self.size]

    def drawn(self, n: int, draw: Callable[[int], Tensor]) -> Tensor:
        return self.own(draw(n * self.size))

    def sum(self, x: Tensor) -> Tensor:
        return summed(x)

    def mean(self, x: Tensor) -> Tensor:
        return summed(x) / self.size

    def means(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        if not tensors:
            return tensors
        flat = self.mean(torch.cat([t.reshape(-1) for t in tensors]))
        parts = torch.split(flat, [t.numel() for t in tensors])
        return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]

    def gathered(self, rows: Tensor) -> Tensor:
        everyone = rows.new_zeros(len(rows) * self.size, *rows.shape[1:])
        everyone[self.rank :: self.size] = rows
        return summed(everyone)

    def told(self, find: Callable[[], T]) -> T:
        said = [find() if self.rank == 0 else None]
        distributed.broadcast_object_list(said, 0)
        return cast(T, said[0])


@contextmanager
def joined(rank: int, size: int, meeting: Path) -> Iterator[Ranks]:
    """Be one of several ranks that find each other in a folder."""
    os.environ.update(LOOPBACK)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=distributed.FileStore(str(meeting / "store"), size),  # type: ignore[attr-defined]
        rank=rank,
        world_size=size,
        timeout=FOREVER if rank else PATIENCE,
    )
    try:
        yield Group(rank, size)
    finally:
        distributed.destroy_process_group()


@dataclass(frozen=True)
class Errand:
    """All that a rank is told: the trial as plain data, and what to do before it is read."""

    trial: dict[str, Any]
    cache: str
    threads: int
    prepare: Sequence[Callable[[], object]] = ()


@contextmanager
def company(size: int, errand: Errand) -> Iterator[Ranks]:
    """Train with so many ranks: this process is the first, and the others are started, and ended.

    Raises RankFailedError or RankLostError, with its reason, when one of the others fails.
    """
    if size == 1:
        yield ALONE
        return
    with tempfile.TemporaryDirectory(prefix="swp-ranks-") as folder:
        meeting, others = Path(folder), list[Other]()
        try:
            for rank in range(1, size):
                others.append(Other(rank, size, meeting, errand))
            gather(others)
            with joined(0, size, meeting) as ranks:
                try:
                    yield ranks
                except RuntimeError as error:
                    if failure := last_words(others):
                        raise failure from error
                    raise
        finally:
            for other in others:
                other.end()


class Other:
    """Another rank: a process that lives as long as its standard input stays open, which is no
    longer than this process lives."""

    def __init__(self, rank: int, size: int, meeting: Path, errand: Errand) -> None:
        self.rank, self.folder = rank, meeting / str(rank)
        self.folder.mkdir()
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sweeper.trial.follow"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=os.environ | surroundings(rank),
                start_new_session=True,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(pickle.dumps((rank, size, meeting, errand)))
        self.process.stdin.flush()

    @property
    def ready(self) -> bool:
        return (self.folder / "ready").exists()

    @property
    def failure(self) -> RuntimeError | None:
        """Why it ended, if it has and should not have."""
        code = self.process.poll()
        if not code:
            return None
        if (self.folder / "reason").exists():
            reason = json.loads((self.folder / "reason").read_text())
            return RankFailedError(f"rank {self.rank} failed: {reason}")
        if code < 0:
            return RankLostError(f"rank {self.rank} was killed by signal {-code}")
        said = (self.folder / "output").read_text(errors="replace").strip().splitlines()
        return RankLostError(f"rank {self.rank} ended with {code}: {''.join(said[-1:])}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def surroundings(rank: int) -> dict[str, str]:
    """The environment of a rank: where to import from, and a device of its own."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    device = str(rank) if visible is None else (visible.split(",") + [""] * rank)[rank]
    return {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": device}


def gather(others: Sequence[Other]) -> None:
    """Wait until all others are there. Raises what keeps one of them from it."""
    while not all(other.ready for other in others):
        if failure := first(others):
            raise failure
        time.sleep(0.02)


def first(others: Sequence[Other]) -> RuntimeError | None:
    """The first failure there is."""
    return next(filter(None, (other.failure for other in others)), None)


def last_words(others: Sequence[Other]) -> RuntimeError | None:
    """Why another rank failed, if one did: what this one noticed may be that and no more."""
    until = time.monotonic() + LAST_WORDS
    while time.monotonic() < until:
        if failure := first(others):
            return failure
        time.sleep(0.05)
    return None
