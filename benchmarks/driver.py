#!/usr/bin/env python
"""What the driver of a sweep costs, per trial, as the sweep grows.

Trials are curves and nothing is trained; all else is as in a sweep on Ray: proposals, rungs, the
searcher and the scheduler that Tune talks to, the ledger with its commits, the tables, the JSON
lines, and, unless it is left out, a tracker that writes to MLflow. Printed are, for every so many
trials, the CPU time of the driver's thread per trial, the time per proposal and the memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

SPACE = Path(__file__).parents[1] / "search_spaces" / "ttur.yaml"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=20, help="of each trial")
    parser.add_argument("--method", choices=("random", "tpe"), default="random")
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--live", type=int, default=8, help="trials at a time")
    parser.add_argument("--rows", type=int, default=10, help="lines of the table")
    parser.add_argument("--tracker", action="store_true", help="write to MLflow, too")
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds for MLflow at the end"
    )
    parser.add_argument("--folder", type=Path, help="where to work; else a temporary folder")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        run(asked, Path(folder))


def run(asked: argparse.Namespace, out: Path) -> None:
    """Simulate a sweep and print what its driver took."""
    from sweeper.ledger.ledger import Ledger
    from sweeper.ledger.tables import Tables
    from sweeper.sweep.drive import at_rest
    from sweeper.sweep.executor import Sweep
    from sweeper.sweep.live import JsonLines, PlainLines
    from sweeper.sweep.plan import Settings, prepare
    from sweeper.sweep.tracking import Tracker, default_uri

    override = (f"search.method={asked.method}",)
    plan = prepare(Settings(asked.space, "digits", override, asked.trials, 0, None, out))
    plan.write()
    shown = {**plan.plain(), "concurrency": asked.live, "engine": "simulated"}
    with Ledger(plan.folder) as ledger, open(os.devnull, "w") as null:
        tables = Tables(ledger, plan.folder, plan.protocol.hash)
        screen = JsonLines(shown, ledger, null, PlainLines(shown, ledger, null))
        listeners: list[Any] = [Timed(screen), Timed(tables)]
        if asked.tracker:
            tracker = Tracker(shown, ledger, plan.folder, default_uri(plan.folder))
            listeners.append(Timed(tracker))
        sweep = Sweep(plan, ledger, listeners)
        proposals = Proposals(sweep)
        meter = Meter(max(asked.trials // asked.rows, 1), proposals)
        with at_rest(), Collections() as collections:
            simulate(sweep, asked, meter)
        begun = time.thread_time()
        tables.write(closing=True)
        took = time.thread_time() - begun
        size = (plan.folder / "ledger.sqlite").stat().st_size
        print(
            f"{ledger.length} events, a ledger of {size / 2**20:.0f} MiB; last tables: {took:.1f} s"
        )
        for listener in listeners:
            name = type(listener.told).__name__
            print(f"  {name}: {1e3 * listener.seconds / asked.trials:.2f} ms of CPU per trial")
        print(f"cost per trial, last {meter.every} to first: {meter.growth():.2f}")
        proposals.say()
        print(f"longest collection of garbage: {collections.longest:.4f} s of CPU")
        if asked.tracker:
            say_lag(tracker, asked)


def simulate(sweep: Any, asked: argparse.Namespace, meter: Meter) -> None:
    """Do what Tune does, with curves for workers."""
    from sweeper.sweep.adapters import LedgerScheduler, LedgerSearcher, Live, StopAll
    from sweeper.sweep.limits import Clock

    Live.sweep, Live.jobs, Live.clock = sweep, {}, Clock(None)
    searcher, stopper = LedgerSearcher(), StopAll()
    scheduler = LedgerScheduler()  # type: ignore[no-untyped-call]
    live: list[tuple[str, Iterator[dict[str, Any]]]] = []
    asks = 0
    while True:
        while len(live) < asked.live:
            asks += 1
            told = searcher.suggest(f"trial-{asks}")
            if not isinstance(told, dict):
                break
            live.append((f"trial-{asks}", curve(told["job"], sweep.plan, asked.reports)))
        if not live:
            return
        name, reports = live.pop(0)
        report = next(reports, None)
        result = {"report": json.dumps(report)}
        trial = SimpleNamespace(trial_id=name)
        if report and scheduler.on_trial_result(None, trial, result) == "CONTINUE":
            live.append((name, reports))
        else:
            searcher.on_trial_complete(name)
            meter.trial()
        stopper.stop_all()


def curve(job: dict[str, Any], plan: Any, reports: int) -> Iterator[dict[str, Any]]:
    """The reports of a trial, as large as those of a real one. Each trial is better than those
    before it, so that none is stopped, which is the most that a driver can have to do."""
    floor, best = float(plan.trials - job["number"]), math.inf
    for k in range(1, reports + 1):
        # The last one is at the horizon, whatever the number of reports.
        images = plan.horizon * k // reports
        score = floor + 300 * math.exp(-9 * k / reports)
        best = min(best, score)
        series = {"n": 10, "mean": 1.0, "deviation": 0.1, "low": 0.5, "p90": 1.2, "high": 1.5}
        series |= {"ema": 1.0, "spikes": 0, "crossings": 3}
        names = ("discriminator.adversarial", "generator.adversarial", "d real", "d fake")
        yield {
            "kind": "measured",
            "images": images,
            "score": score,
            "best": best,
            "losses": {"discriminator.adversarial": 1.0, "generator.adversarial": 0.5},
            "seconds": float(k),
            "images_per_second": 100.0,
            "d_steps": k,
            "g_steps": k,
            "protocol": plan.protocol.hash,
            "heldout": best + 1 if k == reports else None,
            "variety": {"distance": 1.0, "deviation": 0.5, "coverage": None},
            "verdicts": [],
            "windows": [{"images": images, "rounds": 10, "series": dict.fromkeys(names, series)}],
            "layers": {f"layer{i}": {"gradient_norm": 1.0, "zero_share": 0.1} for i in range(6)},
        }


class Timed:
    """A listener, and the time that it keeps the driver."""

    def __init__(self, told: Any) -> None:
        self.told, self.seconds = told, 0.0

    def observe(self, event: Any) -> None:
        begun = time.thread_time()
        self.told.observe(event)
        self.seconds += time.thread_time() - begun


class Proposals:
    """The times that proposals take, the making of the trial and the look at its networks apart."""

    def __init__(self, sweep: Any) -> None:
        self.asks: list[float] = []
        self._propose, self._probe = sweep.proposer.propose, sweep.proposer.probe
        self._probed = 0.0
        sweep.proposer.propose, sweep.proposer.probe = self.propose, self.probe

    def propose(self, records: Any) -> Any:
        begun, self._probed = time.thread_time(), 0.0
        proposed = self._propose(records)
        self.asks.append(time.thread_time() - begun - self._probed)
        return proposed

    def probe(self, trial: Any) -> None:
        begun = time.thread_time()
        self._probe(trial)
        self._probed += time.thread_time() - begun

    def say(self) -> None:
        asks = sorted(self.asks[1:])  # the first one makes caches of its own
        p99 = asks[len(asks) * 99 // 100]
        print(f"ask: median {median(asks):.4f} s, p99 {p99:.4f} s, longest {asks[-1]:.4f} s of CPU")


class Collections:
    """How long Python's collector of garbage holds up whoever comes by."""

    def __init__(self) -> None:
        self.longest = self._begun = 0.0

    def __enter__(self) -> Collections:
        gc.callbacks.append(self._heard)
        return self

    def __exit__(self, *exception: object) -> None:
        gc.callbacks.remove(self._heard)

    def _heard(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.thread_time()
        else:
            self.longest = max(self.longest, time.thread_time() - self._begun)


class Meter:
    """Prints a line for every so many trials."""

    def __init__(self, every: int, proposals: Proposals) -> None:
        self.every, self.proposals = every, proposals
        self.means: list[float] = []
        self._costs: list[float] = []
        self._last, self._wall, self._asked = time.thread_time(), time.monotonic(), 0
        print("  trials  CPU/trial  median  wall/trial  longest ask      RSS")

    def trial(self) -> None:
        now = time.thread_time()
        self._costs.append(now - self._last)
        self._last = now
        if len(self._costs) % self.every == 0:
            self._say()

    def _say(self) -> None:
        costs, wall = self._costs[-self.every :], time.monotonic()
        self.means.append(sum(costs) / len(costs))
        longest = max(self.proposals.asks[self._asked :], default=0.0)
        self._asked = len(self.proposals.asks)
        print(
            f"{len(self._costs):>8}  {1e3 * self.means[-1]:>6.1f} ms"
            f"  {1e3 * median(costs):>3.1f} ms  {1e3 * (wall - self._wall) / self.every:>7.1f} ms"
            f"  {longest:>9.4f} s"
            f"  {resident():>5.0f} MiB",
            flush=True,
        )
        self._wall = wall

    def growth(self) -> float:
        return self.means[-1] / self.means[0]


def resident() -> float:
    """The memory of this process, in MiB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def say_lag(tracker: Any, asked: argparse.Namespace) -> None:
    """How far MLflow is behind when the last trial has ended."""
    begun = time.monotonic()
    behind = sum(tracker._lacks(record, closing=False) for record in tracker.ledger.records)
    lacking = tracker.close(asked.patience)
    took = time.monotonic() - begun
    print(f"MLflow: {behind} runs behind at the end, {lacking} after {took:.0f} s more")
    print("\n".join(tracker.warnings), end="")


if __name__ == "__main__":
    main()
