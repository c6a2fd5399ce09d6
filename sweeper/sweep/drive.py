"""One run of a sweep from start to end: the ledger opened, the listeners told, the signals heard,
the tables written."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import Tables
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.keeper import copying
from sweeper.sweep.live import view
from sweeper.sweep.mirror import place_of
from sweeper.sweep.plan import Plan
from sweeper.sweep.proposer import project
from sweeper.sweep.tracking import Tracker, default_uri

GRACE = 12.0
"""Seconds between a signal and the end of the process, whatever a worker is doing."""
KEPT = 5
"""Best trials whose checkpoints are kept when a sweep is complete, besides the baselines."""


@dataclass(frozen=True)
class How:
    """Where and how loudly to run."""

    inline: bool = False
    address: str | None = None
    json_lines: bool = False
    tracking: str | None = None
    max_gpus: int | None = None
    storage: str | None = None


def drive(plan: Plan, how: How, say: Callable[[str], None]) -> int:
    """Run a sweep to its end, or until a signal. Returns the exit code, which is what the ledger
    says.

    ``say`` is told, in lines, what is done. Raises LedgerError when another driver runs the sweep,
    ClusterError, and StorageError.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    stopping = threading.Event()
    with (
        Ledger(plan.folder) as ledger,
        executor(plan, how, say) as runner,
        copying(plan, how.storage, stopping.set) as copy,
    ):
        shown = {
            **plan.plain(),
            "concurrency": runner.concurrency,
            "engine": runner.name,
            "storage": how.storage,
        }
        plan.write(shown)
        tables = Tables(ledger, plan.folder, plan.protocol_hash)
        screen = view(shown, ledger, json_lines=how.json_lines)
        tracker = Tracker(shown, ledger, plan.folder, how.tracking or default_uri(plan.folder))
        sweep = Sweep(
            plan,
            ledger,
            [screen, tracker, tables, copy],
            stopping,
            storage=place_of(how.storage, plan.id) if how.storage else None,
        )
        try:
            with signals(sweep, ledger, plan, urgent=how.inline) as caught:
                runner.run(sweep)
        finally:
            screen.close()
            for law, n in sweep.proposer.rejected.items():
                ledger.count(f"rejected: {law}", n)
            if not caught():
                copy.finish(best(ledger), complete=sweep.complete)
            if sweep.complete:
                prune(ledger, plan)
            tables.write(closing=True)
            project(plan.space, ledger, plan.folder)
            undelivered = tracker.close(deadline=5.0 if caught() else 60.0)
        if sweep.exhausted:
            say(f"no more trials: {sweep.exhausted}")
        for warning in tracker.warnings:
            say(warning)
        if undelivered:
            say(f"MLflow lacks {undelivered} runs; sweeper resume sends them")
        return caught() or code(ledger)


@contextlib.contextmanager
def executor(plan: Plan, how: How, say: Callable[[str], None]) -> Iterator[Any]:
    """What runs the trials: this process, or Ray."""
    if how.inline:
        say("running in this process, one trial at a time")
        yield InlineExecutor()
        return
    from sweeper.sweep import tune

    resources = plan.space.resources
    with tune.cluster(how.address, resources.cpu) as found:
        from sweeper.sweep.adapters import TuneExecutor
        from sweeper.sweep.arrange import arrange
        from sweeper.sweep.preflight import preflight

        preflight(how.storage or str(plan.cache), plan.name, str(plan.cache), say)
        layout = arrange(plan, how.max_gpus, say)
        say(f"running on {found}; {layout}")
        yield TuneExecutor(layout.trials, layout.gpus, layout.nodes)


@contextlib.contextmanager
def signals(
    sweep: Sweep, ledger: Ledger, plan: Plan, *, urgent: bool
) -> Iterator[Callable[[], int]]:
    """Hear Ctrl-C and SIGTERM: stop cleanly, and in time. Yields what tells the exit code of a
    signal, or 0.

    The first signal asks for an end; ``urgent`` interrupts this very thread, which is the one that
    trains. A second one, or the end of the grace, leaves at once: what was committed is safe.
    """
    caught: list[int] = []

    def leave() -> None:
        print(resume_line(ledger, plan), file=sys.stderr, flush=True)
        os._exit(128 + caught[0])

    def heard(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        sweep.stopping.set()
        if len(caught) > 1:
            leave()
        timer = threading.Timer(GRACE, leave)
        timer.daemon = True
        timer.start()
        if urgent:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield lambda: 128 + caught[0] if caught else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume_line(ledger: Ledger, plan: Plan) -> str:
    done = sum(record.ended for record in ledger.records)
    shown = os.path.relpath(plan.folder)
    state = f"interrupted: {done} of {plan.trials} trials have ended, nothing is lost"
    return f"{state}; go on with\n  sweeper resume {shown}"


def code(ledger: Ledger) -> int:
    """The exit code of a sweep that was not interrupted."""
    states = [record.state for record in ledger.records]
    if not {"completed", "stopped"} & set(states):
        return 1
    return 3 if "failed" in states else 0


def best(ledger: Ledger) -> set[int]:
    """The best trials and the baselines, whose checkpoints are worth keeping."""
    ranked = sorted(
        (r for r in ledger.records if r.score is not None), key=lambda r: r.score or 0.0
    )
    return {r.number for r in ranked[:KEPT]} | {r.number for r in ledger.records if r.baseline}


def prune(ledger: Ledger, plan: Plan) -> None:
    """Of a complete sweep keep the checkpoints of the best trials and the baselines."""
    kept = best(ledger)
    for record in ledger.records:
        if record.number not in kept:
            for file in (plan.folder / "trials" / f"{record.number:05d}" / "checkpoints").glob("*"):
                file.unlink(missing_ok=True)


def followed(plan: Plan) -> Path:
    """The results folder as a user would type it."""
    return Path(os.path.relpath(plan.folder))
