"""Work on the parts of a data set, in order, by as many processes as there are CPUs when it takes
long."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any, Generic, TypeVar, cast

import torch

T = TypeVar("T")

LONG = 5.0
"""Seconds of work that are worth starting processes for."""
LOOK = 0.5
"""Seconds of work after which the rest is estimated."""
AHEAD = 2
"""Parts that a process is given before the first of them is asked back."""
_number = -1


def processes() -> ForkServerContext:
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

    Raises ValueError and OSError as the work does, and ChildProcessError when a process dies over
    it.
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
    hands = [Hand(work, number) for number in range(workers)]
    given: deque[Hand[T]] = deque()
    try:
        for part, hand in zip(parts, cycle(hands), strict=False):
            if len(given) == AHEAD * workers:
                yield given.popleft().made()
            hand.give(part)
            given.append(hand)
        while given:
            yield given.popleft().made()
    finally:
        for hand in hands:
            hand.dismiss()


class Hand(Generic[T]):
    """A process that works on the parts it is given, one after another.

    It has a pipe of its own, which ends when it does. A queue that several share, as those of
    ``torch.utils.data`` and ``concurrent.futures``, is read from for ever when one is killed while
    it writes.
    """

    def __init__(self, work: Callable[[int], T], number: int) -> None:
        context = processes()
        self._pipe, its = context.Pipe()
        self._process = context.Process(target=_serve, args=(its, work, number), daemon=True)
        self._process.start()
        its.close()

    def give(self, part: int) -> None:
        with suppress(BrokenPipeError):  # which made() tells
            self._pipe.send(part)

    def made(self) -> T:
        """What was made of the first part that is still owed."""
        try:
            made = self._pipe.recv()
        except (EOFError, OSError):
            raise ChildProcessError(f"a process that reads data {self._end()}") from None
        if isinstance(made, Exception):
            raise made
        return cast(T, made)

    def _end(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"(pid {self._process.pid}) {how}"

    def dismiss(self) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def number() -> int:
    """Which of the processes that work together this is, from 0; -1 for the one they work for."""
    return _number


def _serve(pipe: Connection, work: Callable[[int], Any], which: int) -> None:
    global _number
    _number = which
    # Ctrl-C reaches every process of a terminal: the one they work for decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    with suppress(EOFError, BrokenPipeError):
        while True:
            part = pipe.recv()
            try:
                made = work(part)
            except ValueError as error:
                made = ValueError(str(error))
            except (OSError, MemoryError) as error:
                made = error
            pipe.send(made)
