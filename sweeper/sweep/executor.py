"""Driving a sweep: what is run next, what a measurement decides, and how a trial ends; and the
plainest executor."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sweeper.config import Trial
from sweeper.ledger.ledger import Event, Ledger, Record, failing
from sweeper.space.use import Used
from sweeper.sweep.logs import logged
from sweeper.sweep.plan import Plan
from sweeper.sweep.proposer import ExhaustedError, Proposer
from sweeper.sweep.rungs import Rungs
from sweeper.trial.loop import Diverged, train

log = logging.getLogger("sweeper")

LOST_AT_MOST = 3


class Listener(Protocol):
    """Someone who is told what happened, after it was committed."""

    def observe(self, event: Event) -> None: ...


@dataclass(frozen=True)
class Job:
    """One attempt at one trial, as plain data: all that a worker is told.

    ``use`` are files of techniques, each by name and source, that the trial is made of.
    """

    number: int
    attempt: int
    trial: dict[str, Any]
    folder: str
    cache: str
    threads: int
    use: Sequence[tuple[str, str]] = ()

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@logged
def work(job: Job) -> Iterator[dict[str, Any]]:
    """Train a job's trial, in whatever process this is. Yields its measurements as plain data; a
    trial that diverges or raises says so in its last report, and raises nothing."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "owner"
    owner.write_text(str(job.attempt))
    try:
        for name, source in job.use:
            Used(name, source).load()
        for measurement in train(
            Trial.read(job.trial), Path(job.cache), folder, threads=job.threads
        ):
            if owner.read_text() != str(job.attempt):
                return
            yield {"kind": "measured", **measurement.plain()}
    except Diverged as error:
        yield {"kind": "diverged", "reason": str(error)}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        yield {"kind": "failed", "reason": reason, "traceback": traceback.format_exc()}


@dataclass
class Sweep:
    """The one driver of a sweep. It knows of no executor: those ask for jobs and pass on what comes
    of them."""

    plan: Plan
    ledger: Ledger
    listeners: Sequence[Listener] = ()
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.proposer = Proposer(self.plan.space, self.plan.probe, self.plan.seed)
        self.rungs = Rungs(self.plan.rungs, self.plan.factor)
        exempt = frozenset(r.number for r in self.ledger.records if r.baseline is not None)
        self.rungs.replay(self.ledger.history(), exempt)
        self.live: set[int] = set()
        self.exhausted: str | None = None
        self.failed: set[str] = set()
        for record in self.ledger.unended:
            self._close(record)

    @property
    def complete(self) -> bool:
        """Whether every trial there is to be has ended."""
        enough = len(self.ledger) >= self.plan.trials or self.exhausted is not None
        return enough and not self.ledger.unended

    def next(self) -> Job | None:
        """The next attempt: a trial that was begun and has not ended, or a new one. None if there
        is nothing to do now."""
        if self.stopping.is_set():
            return None
        waiting = [r for r in self.ledger.unended if r.number not in self.live]
        record = waiting[0] if waiting else self._propose()
        if record is None:
            return None
        self.live.add(record.number)
        event = self.ledger.started(record.number)
        self._tell(event)
        return Job(
            record.number,
            event.attempt,
            record.config,
            str(self.plan.folder / "trials" / f"{record.number:05d}"),
            str(self.plan.cache),
            self.plan.space.resources.cpu,
            [(used.name, used.source) for used in self.plan.use],
        )

    def report(self, job: Job, report: dict[str, Any]) -> bool:
        """Take a worker's report to the ledger; whether the trial is to go on."""
        match report["kind"]:
            case "measured":
                return self._measured(job, report)
            case "diverged":
                self._end(job.number, "diverged", report["reason"])
            case "failed":
                self._end(job.number, "failed", report["reason"], traceback=report["traceback"])
        return False

    def finished(self, job: Job) -> None:
        """A worker has returned from a job, or was told to stop."""
        self.live.discard(job.number)

    def lost(self, job: Job, reason: str) -> None:
        """A worker died under a job. The trial is tried again, so many times."""
        self.live.discard(job.number)
        record = self.ledger[job.number]
        if record.ended:
            return
        self._tell(self.ledger.lost(job.number, reason))
        if record.lost >= LOST_AT_MOST:
            self._end(job.number, "failed", f"its worker was lost {record.lost} times: {reason}")

    def _propose(self) -> Record | None:
        if len(self.ledger) >= self.plan.trials or self.exhausted is not None:
            return None
        try:
            params, trial, baseline = self.proposer.propose(self.ledger.records)
        except ExhaustedError as error:
            self.exhausted = str(error)
            return None
        warnings = [str(problem) for problem in trial.warnings()]
        return self.ledger.add_trial(params, trial.plain(), baseline, warnings)

    def _measured(self, job: Job, report: dict[str, Any]) -> bool:
        record, step = self.ledger[job.number], report["images"]
        if record.ended or job.attempt != record.attempts:
            return False
        data = {k: v for k, v in report.items() if k != "kind"}
        known = {event.step: event for event in record.measured}
        if step not in known:
            go_on = not failing(data) and (
                self.rungs.judge(
                    job.number, step, report["best"], exempt=record.baseline is not None
                )
                or step >= self.plan.horizon
            )
            decision = "continue" if go_on else "stop"
            self._tell(
                self.ledger.measured(job.number, job.attempt, step, report["score"], decision, data)
            )
        self._close(record)
        return not record.ended and not self.stopping.is_set()

    def _close(self, record: Record) -> None:
        """End a trial whose last measurement says that it is over."""
        if record.ended or not record.measured:
            return
        last = record.measured[-1]
        if verdict := failing(last.data):
            self._end(record.number, "diagnosed", f"{verdict['name']}: {verdict['says']}")
        elif last.decision == "stop":
            passed = sum(level <= last.step for level in self.plan.rungs)
            share = f"best {last.data['best']:.4g} is not among the best 1/{self.plan.factor}"
            self._end(
                record.number, "stopped", f"rung {passed} at {last.step / 1000:g} kimg: {share}"
            )
        elif last.step >= self.plan.horizon:
            self._end(record.number, "completed", f"the full {self.plan.horizon / 1000:g} kimg")

    def _end(self, number: int, state: Any, reason: str, **data: Any) -> None:
        self._tell(self.ledger.ended(number, state, reason, **data))

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            try:
                listener.observe(event)
            except Exception as error:  # a listener is a view of the sweep, and never ends it
                name = type(listener).__name__
                if name not in self.failed:
                    self.failed.add(name)
                    log.warning("%s fails, and the sweep goes on: %r", name, error)


class InlineExecutor:
    """Runs one trial after another in this very process: for debuggers, tests and tiny machines."""

    concurrency = 1
    name = "inline"

    def run(self, sweep: Sweep) -> None:
        """Run until the sweep is complete or told to stop."""
        while job := sweep.next():
            for report in work(job):
                if not sweep.report(job, report):
                    break
            sweep.finished(job)
