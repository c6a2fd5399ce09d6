"""One run of a sweep from start to end: the ledger opened, the listeners told, the signals heard,
the tables written."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.redact import hide
from sweeper.ledger.tables import Tables
from sweeper.space.document import Confirm
from sweeper.sweep.agenda import ordered
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.keeper import copying
from sweeper.sweep.live import view
from sweeper.sweep.mirror import place_of
from sweeper.sweep.plan import Plan
from sweeper.sweep.proposer import project
from sweeper.sweep.stopping import REQUEST, Ending, code
from sweeper.sweep.sync import tracked
from sweeper.sweep.tracking import Tracker, default_uri

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
    """Run a sweep to its end, or until it is stopped. Returns the exit code, which is what the
    ledger says.

    ``say`` is told, in lines, what is done. Raises LedgerError when another driver runs the sweep,
    ClusterError, and StorageError.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    uri = tracked(plan.folder, how.tracking)
    stopping = threading.Event()
    with (
        Ledger(plan.folder) as ledger,
        executor(plan, how, say) as runner,
        copying(plan, how.storage, (plan.folder / REQUEST).touch) as copy,
    ):
        shown = {
            **plan.plain(),
            "concurrency": runner.concurrency,
            "engine": runner.name,
            "storage": how.storage,
            "tracking": None if uri == default_uri(plan.folder) else hide(uri),
        }
        plan.write(shown)
        tables = Tables(ledger, plan.folder, plan.protocol.hash)
        screen = view(shown, ledger, json_lines=how.json_lines)
        tracker = Tracker(shown, ledger, plan.folder, uri, say)
        sweep = Sweep(
            plan,
            ledger,
            [screen, tracker, tables, copy],
            stopping,
            gpu=runner.gpus,
            say=say,
            storage=place_of(how.storage, plan.id) if how.storage else None,
        )
        ending = Ending(sweep, say, urgent=how.inline)
        try:
            with ending.heard(), at_rest():
                runner.run(sweep)
        finally:
            screen.close()
            if not ending.code:
                copy.finish(best(ledger, plan.space.confirm), complete=sweep.complete)
            if sweep.complete:
                prune(ledger, plan)
            with ending.signals():
                sweep.room.write(lambda: tables.write(closing=True), "the tables", stopping)
                sweep.room.write(
                    lambda: project(plan.space, ledger, plan.folder), "the study", stopping
                )
            undelivered = tracker.close(deadline=5.0 if ending.code else 60.0)
            ending.calm()
        if sweep.exhausted:
            say(f"no more trials: {sweep.exhausted}")
        for line in [*tracker.warnings, *tracker.pages()]:
            say(line)
        if undelivered:
            say(f"MLflow lacks {undelivered} records; sweeper sync {followed(plan)} sends them")
        return ending.code or code(ledger)


@contextlib.contextmanager
def at_rest() -> Iterator[None]:
    """Meanwhile Python's collector of garbage leaves alone what there is, half a million objects of
    modules above all: going through them holds up a driver for half a second."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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

        place = place_of(how.storage, plan.id) if how.storage else str(plan.cache)
        preflight(place, plan.name, str(plan.cache), say)
        layout = arrange(plan, how.max_gpus, say)
        say(f"running on {found}; {layout}")
        yield TuneExecutor(layout.trials, layout.gpus, layout.nodes)


def best(ledger: Ledger, confirm: Confirm) -> set[int]:
    """The best trials, fresh runs of the first of them, and the baselines, whose checkpoints are
    worth keeping."""
    records = ledger.records
    chosen = ordered(records, confirm.seeds)[: max(KEPT, confirm.top)]
    again = {r.number for r in records if r.role == "confirm" and r.of in chosen[:1]}
    return {*chosen, *again, *(r.number for r in records if r.baseline)}


def prune(ledger: Ledger, plan: Plan) -> None:
    """Of a complete sweep keep the checkpoints of the best trials and the baselines, and of those
    that failed, so that their last moments can be looked at again."""
    kept = best(ledger, plan.space.confirm)
    for record in ledger.records:
        if record.number not in kept and record.state != "failed":
            for file in (plan.folder / "trials" / f"{record.number:05d}" / "checkpoints").glob("*"):
                file.unlink(missing_ok=True)


def followed(plan: Plan) -> Path:
    """The results folder as a user would type it."""
    return Path(min(os.path.relpath(plan.folder), str(plan.folder), key=len))
