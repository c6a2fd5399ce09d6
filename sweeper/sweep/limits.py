"""What bounds a sweep besides its trials: time, cost, failures, and how long a trial may be
silent."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from types import FrameType
from typing import Any, Self

from sweeper.ledger.ledger import Ledger, Record
from sweeper.space.document import Limits
from sweeper.sweep.failures import TimedOut, share

HOUR = 3600.0
GRACE = 30.0
"""Seconds that a trial in this very thread has to end after its time, before the process is."""


@dataclass
class Spent:
    """What a sweep has taken, by a clock that nobody sets: the time of this run, and the GPU time
    of all of them, where earlier ones count with what their measurements took."""

    gpu: float
    ledger: Ledger
    began: float = field(default_factory=lambda: monotonic())
    busy: float = 0.0
    since: dict[int, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.busy = sum(r.seconds * share(self.gpu, r) for r in self.ledger.records)

    def start(self, record: Record) -> None:
        """A worker takes up a trial."""
        self.since[record.number] = (monotonic(), share(self.gpu, record))

    def end(self, number: int) -> None:
        """A worker has let go of a trial."""
        began, part = self.since.pop(number, (0.0, 0.0))
        self.busy += (monotonic() - began) * part

    @property
    def hours(self) -> float:
        return (monotonic() - self.began) / HOUR

    @property
    def gpu_hours(self) -> float:
        now = monotonic()
        under_way = sum((now - began) * part for began, part in list(self.since.values()))
        return (self.busy + under_way) / HOUR


def reached(limits: Limits, spent: Spent, trials: int) -> str | None:
    """The limit that a sweep of so many ``trials`` has come to, as a line, or None."""
    if limits.wall_hours is not None and spent.hours >= limits.wall_hours:
        return f"limits.wall_hours: this run took its {limits.wall_hours:g} hours"
    if limits.gpu_hours is not None and spent.gpu_hours >= limits.gpu_hours:
        return f"limits.gpu_hours: the sweep took its {limits.gpu_hours:g} GPU hours"
    if limits.failed_share is not None:
        failed = sum(r.state == "failed" for r in spent.ledger.records)
        if failed > limits.failed_share * trials:
            share = f"{limits.failed_share:.0%} of {trials} trials"
            return f"limits.failed_share: {failed} failed, and no more than {share} may"
    return None


@dataclass
class Clock:
    """How long each trial under way has been silent. ``minutes`` is how long it may be, None for as
    long as it likes."""

    minutes: float | None
    heard: dict[str, float] = field(default_factory=dict)

    def hear(self, who: str) -> None:
        """A trial's worker has begun, or came to a measurement."""
        self.heard[who] = monotonic()

    def forget(self, who: str) -> None:
        self.heard.pop(who, None)

    def overdue(self) -> list[str]:
        """Those that were silent for too long."""
        if self.minutes is None:
            return []
        before = monotonic() - 60 * self.minutes
        return [who for who, at in self.heard.items() if at < before]


class Alarm:
    """Ends the waiting for a trial's next measurement, in this very thread, after so many minutes.

    Only the main thread can be ended in its work; in any other there is no end to the waiting. It
    hears of it between two steps of Python: one that stays in a library's code does not.
    """

    def __init__(self, minutes: float | None) -> None:
        main = threading.current_thread() is threading.main_thread()
        self.minutes, self.armed = minutes if main else None, False
        self.waiting = False

    def __enter__(self) -> Self:
        if self.minutes is not None:
            self.before = signal.signal(signal.SIGUSR2, self._ring)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.minutes is not None:
            signal.signal(signal.SIGUSR2, self.before)

    def next(
        self, reports: Iterator[dict[str, Any]], deaf: Callable[[], object]
    ) -> dict[str, Any] | None:
        """The next report, or None after the last. Calls ``deaf``, in another thread, where the
        trial has not ended some time after it was told to. Raises TimedOut."""
        if self.minutes is None:
            return next(reports, None)
        main = threading.main_thread().ident
        assert main is not None
        timers = [
            threading.Timer(60 * self.minutes, signal.pthread_kill, (main, signal.SIGUSR2)),
            threading.Timer(60 * self.minutes + GRACE, self._give_up, (deaf,)),
        ]
        self.armed = self.waiting = True
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            return next(reports, None)
        finally:
            self.armed = self.waiting = False
            for timer in timers:
                timer.cancel()
                timer.join()

    def _give_up(self, deaf: Callable[[], object]) -> None:
        if self.waiting:
            deaf()

    def _ring(self, number: int, frame: FrameType | None) -> None:
        # One that comes too late is for a report that was in time.
        if self.armed:
            self.armed = False
            raise TimedOut(late(self.minutes))


def late(minutes: float | None) -> str:
    """What is said of a trial that was silent for so long."""
    return f"no measurement in {minutes:g} minutes (limits.trial_minutes)"
