#!/usr/bin/env python
"""What keeping a record costs a sweep's driver: ledger and tracker, beside MLflow's stock callback.

Both are told of the same trials, from their beginning over their measurements to their end. The
ledger commits each event before the tracker is told, whose own thread writes to MLflow; Ray Tune's
``MLflowLoggerCallback`` writes to MLflow itself, and of a measurement only its plain numbers. Each
has a sqlite database of its own for MLflow. Counted is what the driver's thread works or waits for;
until MLflow has everything of a trial, the next one waits, and that is not counted.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from driver import SPACE, curve
from pairs import Row, in_turns, told
from search import configurations

PATIENCE = 120.0
"""Seconds that MLflow has for a trial."""
CLOCKS = {"driver's thread, CPU": time.thread_time, "driver's thread, held up": time.perf_counter}

Act = Callable[[], Any]


class Held:
    """How long the driver's thread was kept so far, by a clock; it is a clock itself."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.thread_time
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def during(self, act: Act) -> Any:
        begun = self.clock()
        try:
            return act()
        finally:
            self.seconds += self.clock() - begun


class Ours:
    """A ledger and its tracker."""

    def __init__(self, plan: Any, held: Held) -> None:
        from sweeper.ledger.ledger import Ledger
        from sweeper.sweep.tracking import Tracker, default_uri

        self.held, self.ledger = held, Ledger(plan.folder)
        shown = {**plan.plain(), "concurrency": 1, "engine": "simulated"}
        self.tracker = Tracker(shown, self.ledger, plan.folder, default_uri(plan.folder))

    def trial(self, params: Any, config: Any, reports: list[dict[str, Any]]) -> None:
        """Keep a record of a trial, and wait for MLflow to have it."""
        ledger = self.ledger
        record = self.held.during(partial(ledger.add_trial, params, config, role="search"))
        number = record.number
        self.tell(partial(ledger.started, number))
        for report in reports:
            step, score = report["images"], report["score"]
            data = {key: value for key, value in report.items() if key != "kind"}
            self.tell(partial(ledger.measured, number, 1, step, score, "continue", data))
        self.tell(partial(ledger.ended, number, "completed", "the full budget"))
        until = time.monotonic() + PATIENCE
        while self.tracker._lacks(record, closing=False):
            assert time.monotonic() < until, f"MLflow lags behind: {self.tracker.warnings}"
            time.sleep(0.01)

    def tell(self, commit: Act) -> None:
        self.held.during(lambda: self.tracker.observe(commit()))

    def close(self) -> None:
        lacking = self.tracker.close(PATIENCE)
        assert not lacking, f"MLflow has all of it, but lacks {lacking}: {self.tracker.warnings}"
        self.ledger.close()


class Named:
    """A trial as the stock callback knows it."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.name, self.config = name, config

    def __str__(self) -> str:
        return self.name


class Stock:
    """Ray Tune's callback."""

    def __init__(self, plan: Any, held: Held) -> None:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        self.held = held
        kind: Any = MLflowLoggerCallback
        uri = f"sqlite:///{plan.out / 'stock.db'}"
        self.callback = kind(uri, experiment_name="stock")
        self.callback.setup()

    def trial(self, params: Any, config: Any, reports: list[dict[str, Any]]) -> None:
        """Keep a record of a trial, of its own parameters alone."""
        trial, held = Named(f"train_{len(reports)}", dict(params)), self.held
        held.during(partial(self.callback.log_trial_start, trial))
        for i, report in enumerate(reports, 1):
            plain = {**report, **report["losses"]}
            result = {k: v for k, v in plain.items() if isinstance(v, int | float)}
            result["training_iteration"] = i
            held.during(partial(self.callback.log_trial_result, i, trial, result))
        held.during(partial(self.callback.log_trial_end, trial))


def measured(blocks: int, reports: int) -> list[Row]:
    """The driver's thread, by its CPU time and by the clock on the wall."""
    from sweeper.sweep.plan import Settings, prepare
    from sweeper.sweep.tracking import ENVIRONMENT

    for name, value in ENVIRONMENT.items():  # before MLflow is imported, for both
        os.environ.setdefault(name, value)
    with TemporaryDirectory() as folder:
        plan = prepare(Settings(SPACE, "digits", out=Path(folder)))
        plan.write()
        ((params, trial),) = configurations(plan, 1)
        given = params, trial.plain(), list(curve({"number": 0}, plan, reports))
        held = Held()
        ours, stock = Ours(plan, held), Stock(plan, held)
        steps = {
            "ledger and tracker": partial(ours.trial, *given),
            "MLflowLoggerCallback": partial(stock.trial, *given),
        }
        protocol = (
            f"two trials of {reports} measurements, from beginning to end, with {len(params)} "
            "parameters; what the driver's thread takes, ours with the ledger's commits; what the "
            "tracker's own thread takes beside it is not in it; MLflow on sqlite"
        )
        found = []
        for case, clock in CLOCKS.items():
            held.clock = clock
            times = in_turns(steps, blocks, held)
            row = times.row(*steps, part="tracking", case=case, protocol=protocol, at_least=1.0)
            found.append(row)
        ours.close()
    return found


def rows(quick: bool) -> list[Row]:
    """The driver's thread, by its CPU time and by the clock on the wall."""
    return measured(2 if quick else 20, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--reports", type=int, default=9, help="measurements of a trial")
    asked = parser.parse_args()
    print(told(measured(asked.blocks, asked.reports)))


if __name__ == "__main__":
    main()
