"""Work on the parts of a data set, in order, by as many processes as there are CPUs when it takes
long."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")

LONG = 5.0
"""Seconds of work that are worth starting processes for."""
LOOK = 0.5
"""Seconds of work after which the rest is estimated."""


def processes() -> BaseContext:
    """How processes that read data are started: as forks of one that has imported the catalog, and
    done nothing else. A fork of this one would inherit its locks, but not the threads that hold
    them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sweeper.catalog"])
    return context


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(work: Callable[[int], T], parts: Sequence[int]) -> Iterator[T]:
    """What is made of each part, in order.

    Raises ValueError as the work does, and ChildProcessError when a process dies over it.
    """
    start = time.monotonic()
    for done, part in enumerate(parts):
        spent = time.monotonic() - start
        if spent > LOOK and cpus() > 1 and spent * (len(parts) - done) > LONG * done:
            yield from together(work, parts[done:], cpus())
            return
        yield work(part)


def together(work: Callable[[int], T], parts: Sequence[int], workers: int) -> Iterator[T]:
    """What is made of each part by several processes, in order, as ``in_order`` has it."""
    loader: DataLoader[Any] = DataLoader(
        Parts(work, parts),
        batch_size=None,
        num_workers=workers,
        collate_fn=as_made,
        multiprocessing_context=processes(),
        # Else it draws from the generator that training draws from.
        generator=torch.Generator().manual_seed(0),
    )
    batches = iter(loader)
    while True:
        try:
            made = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            words = str(error).replace("DataLoader worker", "a process that reads data", 1)
            raise ChildProcessError(words.strip()) from None
        if isinstance(made, ValueError):
            raise made
        yield made


def as_made(made: T) -> T:
    return made


class Parts(Dataset[T | ValueError], Generic[T]):
    """What is made of each part. An error that is meant for people is handed over, since it would
    come with a traceback if it were raised in another process."""

    def __init__(self, work: Callable[[int], T], parts: Sequence[int]) -> None:
        self.work, self.parts = work, parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> T | ValueError:
        try:
            return self.work(self.parts[index])
        except ValueError as error:
            return ValueError(str(error))
