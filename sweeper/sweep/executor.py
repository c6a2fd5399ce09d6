"""Driving a sweep: what is run next, what a measurement decides, and how a trial ends; and the
plainest executor."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sqlite3
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sweeper.config import Trial
from sweeper.ledger.ledger import Event, Ledger, Record, failing
from sweeper.space.use import Used
from sweeper.sweep.agenda import Due
from sweeper.sweep.failures import ADVICE, Cut, TimedOut, again, cause_of, full, no_room, share
from sweeper.sweep.limits import Alarm, Spent, late
from sweeper.sweep.logs import logged
from sweeper.sweep.mirror import mirrored
from sweeper.sweep.plan import Plan
from sweeper.sweep.proposer import ExhaustedError, Proposer
from sweeper.sweep.room import POLL, Room
from sweeper.sweep.rungs import Bracket, Rungs
from sweeper.sweep.stopping import leave
from sweeper.trial.device import choose_device, confine
from sweeper.trial.loop import Diverged, train

log = logging.getLogger("sweeper")
T = TypeVar("T")

MEASURED = ("score", "best", "seconds", "images_per_second")
"""Numbers that a measurement holds, besides its images and losses."""


class Listener(Protocol):
    """Someone who is told what happened, after it was committed."""

    def observe(self, event: Event) -> None: ...


@dataclass(frozen=True)
class Job:
    """One attempt at one trial, as plain data: all that a worker is told.

    ``use`` are files of techniques, each by name and source, that the trial is made of. ``gpu`` is
    its share of a GPU, or how many it has; ``ranks`` how many processes train it together;
    ``storage`` a place that all nodes read and write; and ``driver`` a word for the driver's
    process, since two of them may count the same attempt.
    """

    number: int
    attempt: int
    trial: dict[str, Any]
    folder: str
    cache: str
    threads: int
    use: Sequence[tuple[str, str]] = ()
    gpu: float = 0.0
    storage: str | None = None
    driver: str = ""
    ranks: int = 1

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Fence:
    """Whose a trial's folder is: that of the attempt that took it last. A worker that was taken for
    dead, and is not, finds there that it has a successor."""

    folder: Path
    attempt: int
    driver: str

    def take(self) -> bool:
        """Make the folder that of this attempt, unless a later one of the same driver has it."""
        number, _, driver = self._read().partition(" ")
        if driver == self.driver and number.isdigit() and int(number) > self.attempt:
            return False
        draft = self.folder / f"owner.{os.getpid()}.tmp"
        draft.write_text(self._word)
        draft.replace(self.folder / "owner")
        return True

    def held(self) -> bool:
        """Whether the folder is still this attempt's."""
        return self._read() == self._word

    @property
    def _word(self) -> str:
        return f"{self.attempt} {self.driver}"

    def _read(self) -> str:
        try:
            return (self.folder / "owner").read_text()
        except FileNotFoundError:
            return ""


@mirrored
@logged
def work(job: Job) -> Iterator[dict[str, Any]]:
    """Train a job's trial, in whatever process this is. Yields its measurements as plain data; a
    trial that diverges or raises says so in its last report, and raises nothing."""
    try:
        yield from trained(job)
    except Diverged as error:
        yield {"kind": "diverged", "reason": str(error)}
    except Exception as error:
        reason, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        yield {"kind": "failed", "cause": cause_of(error), "reason": reason, "traceback": trace}


def trained(job: Job) -> Iterator[dict[str, Any]]:
    """Train a job's trial for as long as its folder is this attempt's."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    fence = Fence(folder, job.attempt, job.driver)
    if not fence.take():
        return
    uses = [Used(name, source).load for name, source in job.use]
    for use in uses:
        use()
    confine(job.gpu)
    measurements = train(
        Trial.read(job.trial),
        Path(job.cache),
        folder,
        threads=job.threads,
        ranks=job.ranks,
        prepare=uses,
    )
    for measurement in measurements:
        if not fence.held():
            return
        yield {"kind": "measured", **measurement.plain()}


@dataclass
class Sweep:
    """The one driver of a sweep. It knows of no executor: those ask for jobs and pass on what comes
    of them."""

    plan: Plan
    ledger: Ledger
    listeners: Sequence[Listener] = ()
    stopping: threading.Event = field(default_factory=threading.Event)
    gpu: float = 0.0
    storage: str | None = None
    say: Callable[[str], None] = log.warning

    def __post_init__(self) -> None:
        self.driver = uuid.uuid4().hex[:8]
        self.room = Room(self.plan.folder, self.say)
        self.spent = Spent(self.gpu, self.ledger)
        plan = self.plan
        self.proposer = Proposer(plan.space, plan.probe, plan.seed, plan.shown, plan.ablation)
        self.agenda = plan.agenda
        self.rungs = Rungs(self.plan.rungs, self.plan.factor, self.plan.plateau)
        exempt = frozenset(r.number for r in self.ledger.records if r.whole)
        self.rungs.replay(
            self.ledger.history(),
            exempt,
            lambda n: self._bracket(self.ledger[n]),
            lambda n, step: plan.place(self.ledger[n], step),
        )
        self.live: set[int] = set()
        self.exhausted: str | None = None
        self.failed: set[str] = set()
        for record in self.ledger.unended:
            self._close(record)

    @property
    def complete(self) -> bool:
        """Whether every trial there is to be has ended."""
        return not self.ledger.unended and self._due() is None

    def next(self) -> Job | None:
        """The next attempt: a trial that was begun and has not ended, or a new one. None if there
        is nothing to do now."""
        if self.stopping.is_set() or not self.room.there():
            return None
        waiting = [r for r in self.ledger.unended if r.number not in self.live]
        try:
            record = waiting[0] if waiting else self._propose()
            if record is None:
                return None
            number = record.number
            event = self._commit(lambda: self.ledger.started(number))
        except Cut:
            return None
        self.live.add(number)
        self.spent.start(record)
        self._tell(event)
        return Job(
            number,
            event.attempt,
            record.config,
            str(self.plan.folder / "trials" / f"{number:05d}"),
            str(self.plan.cache),
            self.plan.space.resources.cpu,
            [(used.name, used.source) for used in self.plan.use],
            gpu=share(self.gpu, record),
            ranks=self.plan.space.resources.processes,
            storage=self.storage,
            driver=self.driver,
        )

    def report(self, job: Job, report: dict[str, Any]) -> bool:
        """Take a worker's report to the ledger; whether the trial is to go on. Whatever it holds,
        it ends nothing but its trial; and of an attempt that was given up, nothing is believed."""
        if not self._current(job):
            return False
        with contextlib.suppress(Cut):
            match report:
                case {"kind": "measured"}:
                    return self._measured(job, report)
                case {"kind": "diverged", "reason": reason}:
                    self._end(job.number, "diverged", reason, cause="nan")
                case {"kind": "failed", "cause": cause, "reason": reason, "traceback": trace}:
                    self._failed(job, cause, reason, traceback=trace)
                case _:
                    law = "a worker reports that it measured, diverged or failed"
                    self._failed(job, "exception", f"{law}, but got {report!r}")
        return False

    def finished(self, job: Job) -> None:
        """A worker has returned from a job, or was told to stop."""
        self.live.discard(job.number)
        self.spent.end(job.number)

    def lost(self, job: Job, reason: str, cause: str = "worker") -> None:
        """A worker was lost under a job, for a cause as in ``Record.cause``. The trial is tried
        again, as often as its space says."""
        self.finished(job)
        if self._current(job):
            with contextlib.suppress(Cut):
                self._failed(job, cause, reason)

    def _current(self, job: Job) -> bool:
        record = self.ledger[job.number]
        return record.state == "running" and job.attempt == record.attempts

    def _failed(self, job: Job, cause: str, reason: str, **data: Any) -> None:
        """Begin a trial again from its newest checkpoint, or end it, by what went wrong. Where it
        was the disk, everything waits for room."""
        record = self.ledger[job.number]
        if cause == "storage":
            self.room.ran_out(reason, full=no_room(reason))
        if again(record, cause, self.plan.space.retries):
            self._tell(self._commit(lambda: self.ledger.lost(job.number, reason, cause)))
            return
        before = record.losses[cause]
        times = f" ({before + 1} times)" if before else ""
        about = {"cause": cause, "advice": ADVICE.get(cause, ""), **data}
        self._end(job.number, "failed", f"{reason}{times}", **about)

    def _commit(self, write: Callable[[], T]) -> T:
        """Write to the ledger, as soon as there is room. Raises Cut if the sweep is stopped before
        there is: what could not be written did not happen, and is done again."""
        while True:
            try:
                written = write()
            except sqlite3.OperationalError as error:
                if cause_of(error) != "storage":
                    raise
                self.room.ran_out(f"{self.ledger.path.name}: {error}", full=full(error))
            else:
                self.room.was_enough()
                return written
            while not self.room.there():
                if self.stopping.wait(POLL):
                    raise Cut

    def _propose(self) -> Record | None:
        due = self._due()
        if due is None:
            return None
        before = dict(self.proposer.rejected)
        try:
            made = self.proposer.propose(due, self.ledger.records)
        except ExhaustedError as error:
            self.exhausted = str(error)
            return self._propose()
        finally:
            self._count(before)
        warnings = [str(problem) for problem in made.trial.warnings()]
        plain = made.trial.plain()
        return self._commit(
            lambda: self.ledger.add_trial(
                made.params, plain, made.baseline, warnings, due.role, due.of
            )
        )

    def _count(self, before: Mapping[str, int]) -> None:
        """Enter the draws that were rejected since as many had been."""
        for law, n in self.proposer.rejected.items():
            if more := n - before.get(law, 0):
                self._commit(partial(self.ledger.count, f"rejected: {law}", more))

    def _due(self) -> Due | None:
        """What is to be run next. Once the space is exhausted, no more than was proposed."""
        records = self.ledger.records
        if self.exhausted is None:
            return self.agenda.due(records)
        proposed = sum(record.of is None for record in records)
        return replace(self.agenda, trials=proposed).due(records)

    def _measured(self, job: Job, report: dict[str, Any]) -> bool:
        if wrong := unsound(report, self.plan.protocol.hash):
            state, reason = wrong
            if state == "diverged":
                self._end(job.number, state, reason, cause="nan")
            else:
                self._failed(job, "exception", reason)
            return False
        record, step = self.ledger[job.number], report["images"]
        data = {k: v for k, v in report.items() if k != "kind"}
        known = {event.step: event for event in record.measured}
        if step not in known:
            place = self.plan.place(record, step)
            go_on = not failing(data) and (
                self.rungs.judge(
                    job.number,
                    place,
                    report["best"],
                    exempt=record.whole,
                    bracket=self._bracket(record),
                )
                or place >= self.plan.horizon
            )
            decision = "continue" if go_on else "stop"
            self._tell(
                self._commit(
                    lambda: self.ledger.measured(
                        job.number, job.attempt, step, report["score"], decision, data
                    )
                )
            )
        self._close(record)
        return not record.ended and not self.stopping.is_set()

    def _close(self, record: Record) -> None:
        """End a trial whose last measurement says that it is over."""
        if record.ended or not record.measured:
            return
        last = record.measured[-1]
        if verdict := failing(last.data):
            says = f"{verdict['name']}: {verdict['says']}"
            self._end(record.number, "diagnosed", says, cause="diagnosis")
        elif last.decision == "stop" and self._converged(record):
            plateau = self.plan.plateau
            assert plateau is not None
            fell = f"best {last.data['best']:.4g} fell by less than {plateau.tolerance:.2g} of it"
            why = f"converged: {fell} in {plateau.patience} evaluations"
            self._end(record.number, "stopped", why, converged=True)
        elif last.decision == "stop":
            place = self.plan.place(record, last.step)
            passed = sum(level <= place for level in self.plan.rungs)
            among = f" of its {self.plan.space.brackets}" if self.plan.space.brackets else ""
            why = f"best {last.data['best']:.4g} is not among the best 1/{self.plan.factor}{among}"
            self._end(
                record.number, "stopped", f"rung {passed} at {last.step / 1000:g} kimg: {why}"
            )
        elif self.plan.place(record, last.step) >= self.plan.horizon:
            whole = record.config["horizon_kimg"]
            self._end(record.number, "completed", f"the full {whole:g} kimg")

    def _bracket(self, record: Record) -> Bracket:
        """What a trial has in common with those that it is judged among."""
        by = self.plan.space.brackets
        return record.params.get(by) if by else None

    def _converged(self, record: Record) -> bool:
        bests = [point.best for point in record.curve if point.best is not None]
        return self.plan.plateau is not None and self.plan.plateau.reached(bests)

    def _end(self, number: int, state: Any, reason: str, **data: Any) -> None:
        self._tell(self._commit(lambda: self.ledger.ended(number, state, reason, **data)))

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            try:
                listener.observe(event)
            except Exception as error:  # a listener is a view of the sweep, and never ends it
                name = type(listener).__name__
                if name not in self.failed:
                    self.failed.add(name)
                    log.warning("%s fails, and the sweep goes on: %r", name, error)


def unsound(report: dict[str, Any], protocol: str) -> tuple[str, str] | None:
    """How a trial ends whose measurement is none, and why: it failed where a number is missing or
    of another protocol than the sweep's, and diverged where one is not finite."""
    images, losses = report.get("images"), report.get("losses")
    if type(images) is not int or images < 1:
        return "failed", f"a measurement says after how many images it was, but got {images!r}"
    if not isinstance(losses, dict):
        return "failed", f"a measurement holds the losses by name, but got {losses!r}"
    if (under := report.get("protocol")) != protocol:
        law = "numbers are ranked under one protocol"
        return "failed", f"{law}, which is {protocol}, but this was measured under {under!r}"
    heldout = [] if report.get("heldout") is None else ["heldout"]
    for name in [*MEASURED, *heldout]:
        value = report.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "failed", f"a measurement holds a number as {name}, but got {value!r}"
        if not math.isfinite(value):
            return "diverged", f"{name} is not finite after {images:,} images"
    return None


class InlineExecutor:
    """Runs one trial after another in this very process: for debuggers, tests and tiny machines."""

    concurrency = 1
    name = "inline"

    @property
    def gpus(self) -> float:
        """The GPUs that a trial has: the one that there is."""
        return float(choose_device().type == "cuda")

    def run(self, sweep: Sweep) -> None:
        """Run until the sweep is complete or told to stop."""
        with Alarm(sweep.plan.space.limits.trial_minutes) as alarm:
            while True:
                if job := sweep.next():
                    self._run(sweep, job, alarm)
                elif not sweep.room.short or sweep.stopping.wait(POLL):
                    return

    def _run(self, sweep: Sweep, job: Job, alarm: Alarm) -> None:
        reports, deaf = work(job), partial(self._deaf, sweep, job, alarm.minutes)
        try:
            while (report := alarm.next(reports, deaf)) is not None and sweep.report(job, report):
                pass
        except TimedOut as error:
            sweep.lost(job, str(error), "timeout")
        else:
            sweep.finished(job)

    def _deaf(self, sweep: Sweep, job: Job, minutes: float | None) -> None:
        """End this process, since the trial in it does not end: it cannot be ended alone."""
        reason = f"{late(minutes)}, and it cannot be interrupted"
        sweep.lost(job, reason, "timeout")
        sweep.say(f"stopping: {sweep.ledger[job.number].name}: {reason}")
        leave(sweep, 128 + signal.SIGTERM)
