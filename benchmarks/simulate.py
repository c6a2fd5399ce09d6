#!/usr/bin/env python
"""Whole sweeps on the table that search.py recorded: what they find, and what they cost.

    OMP_NUM_THREADS=1 benchmarks/simulate.py --sweeps 500 --workers 1

A sweep is that of ``search.yaml``: TPE proposes, of which the nearest configuration of the table is
run that the sweep has not run yet; ASHA stops; and the best five are confirmed on three fresh seeds
each. Beside it stands random search: as many configurations, all in full, on three seeds each.

What a configuration is worth is the geometric mean of the held-out scores of all its recorded runs,
where a run that broke counts as the worst there is; regret is by how much what was picked is worth
less than something else. Costs are CPU seconds as they were recorded. Intervals are of means over
sweeps on this one table.

    sweeper run benchmarks/search.yaml --inline --seed 1 --name fresh-1
    benchmarks/simulate.py --fresh results/fresh-1

puts sweeps beside it that were really run: what each cost, in images, and what it picked, by the
fresh seeds that confirm it, against what random search picks on the table.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import multiprocessing
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import search
from pairs import Row, Times

from sweeper.ledger.confirmed import Run, confirmed
from sweeper.ledger.ledger import BROKEN, Event, Ledger, Record
from sweeper.sweep.agenda import Agenda, Due, best
from sweeper.sweep.plan import Settings, space_of
from sweeper.sweep.proposer import Proposer
from sweeper.sweep.rungs import Rungs, rungs_of

SPACE, TABLE = search.SPACE, search.TABLE
SWEEPS = TABLE.parent / "sweeps.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=search.Paragraphs)
    parser.add_argument("--sweeps", type=int, default=500)
    parser.add_argument("--trials", type=int, default=64, help="configurations that a sweep tries")
    parser.add_argument("--concurrent", type=int, default=4, help="trials at a time")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="path=value")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=SWEEPS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--fresh", type=Path, nargs="+", help="results folders of such sweeps")
    asked = parser.parse_args()
    if asked.fresh:
        print("\n".join(fresh(asked.fresh, search.rows_of(asked.out))))
        return
    jobs = [(asked, seed) for seed in range(asked.sweeps)]
    with multiprocessing.get_context("spawn").Pool(asked.workers) as workers:
        rows = list(workers.imap(compared, jobs, chunksize=10))
    about = {"table": asked.table.name, "trials": str(asked.trials)}
    search.write(asked.out, rows, about, by=["seed"])
    for line in told(rows):
        print(line)


def compared(job: tuple[argparse.Namespace, int]) -> search.Row:
    """A guided sweep and a random one of the same seed."""
    asked, seed = job
    table = Table.read(asked.table)
    guided = Guided(table, space(tuple(asked.overrides)), seed, asked.trials, asked.concurrent)
    guided.run()
    return {"seed": seed, **guided.found(), **at_random(table, seed, asked.trials)}


@dataclass(frozen=True)
class Recorded:
    """A run of a configuration, as it was recorded: its measurements, and how it ended."""

    measured: tuple[search.Row, ...]
    seconds: float
    heldout: float | None
    state: str

    @property
    def score(self) -> float:
        """The best score, if nothing broke."""
        broke = self.state in BROKEN or not self.measured
        return math.inf if broke else float(self.measured[-1]["best"])


@dataclass(frozen=True)
class Table:
    """The recorded runs of every configuration."""

    params: Sequence[search.Row]
    runs: Sequence[Sequence[Recorded]]

    @classmethod
    def read(cls, path: Path) -> Table:
        return _read(path)

    @cached_property
    def worth(self) -> list[float]:
        """What each configuration is worth on new data."""
        every = [run.heldout for runs in self.runs for run in runs]
        worst = max(value for value in every if value is not None)
        return [
            math.exp(fmean(math.log(worst if r.heldout is None else r.heldout) for r in runs))
            for runs in self.runs
        ]

    def nearest(self, parameters: Sequence[search.Row], params: search.Row, used: set[int]) -> int:
        """The configuration, not one that is used, that is most like some parameters."""

        def away(config: int) -> float:
            other = self.params[config]
            return sum(apart(p, params.get(p["name"]), other.get(p["name"])) for p in parameters)

        return min((c for c in range(len(self.params)) if c not in used), key=away)


def apart(parameter: search.Row, a: Any, b: Any) -> float:
    """The squared distance of two values as a part of their range; that of two choices is 1."""
    if a is None or b is None or "choices" in parameter:
        # Where only one branch has a parameter, the choice of the branch is apart already.
        return float(a != b and a is not None and b is not None)
    low, high = parameter["low"], parameter["high"]
    if parameter["log"]:
        low, high, a, b = map(math.log, (low, high, a, b))
    return float(((a - b) / (high - low)) ** 2)


_tables: dict[Path, Table] = {}
_spaces: dict[tuple[str, ...], Any] = {}


def _read(path: Path) -> Table:
    """A table, once in each process."""
    if path in _tables:
        return _tables[path]
    trials: dict[int, list[search.Row]] = {}
    for row in search.rows_of(path):
        trials.setdefault(row["trial"], []).append(row)
    params: dict[int, search.Row] = {}
    runs: dict[int, list[Recorded]] = {}
    for rows in trials.values():
        last = rows[-1]
        own = {k.removeprefix("param."): v for k, v in last.items() if k.startswith("param.")}
        params[last["config"]] = {k: v for k, v in own.items() if v is not None}
        measured = tuple(row for row in rows if row["score"] is not None)
        run = Recorded(measured, last["seconds"], last["heldout"], last["state"])
        runs.setdefault(last["config"], []).append(run)
    order = sorted(params)
    _tables[path] = Table([params[c] for c in order], [runs[c] for c in order])
    return _tables[path]


def space(overrides: tuple[str, ...]) -> Any:
    """The space, once in each process."""
    if overrides not in _spaces:
        _spaces[overrides] = space_of(Settings(SPACE, "digits", overrides))[0]
    return _spaces[overrides]


@dataclass
class Guided:
    """A sweep as it ships, whose trials are looked up."""

    table: Table
    space: Any
    seed: int
    trials: int
    concurrent: int
    records: list[Record] = field(default_factory=list)
    configs: list[int] = field(default_factory=list)
    cost: float = 0.0

    def __post_init__(self) -> None:
        self.proposer = Proposer(self.space, lambda trial: None, self.seed)
        self.agenda = Agenda(self.space, self.trials)
        rungs = self.space.budget.rungs
        self.parts = max(len(run.measured) for runs in self.table.runs for run in runs)
        self.rungs = Rungs((), 1)
        if rungs is not None:
            begins = rungs.begins(self.space.budget.max)
            self.rungs = Rungs(rungs_of(self.parts, 1, begins, rungs.factor), rungs.factor)
        chance = random.Random(f"seeds of {self.seed}")
        self.orders = [chance.sample(range(len(runs)), len(runs)) for runs in self.table.runs]
        self.events = 0

    def run(self) -> None:
        """Run every trial, the next measurement in time first."""
        live: list[tuple[float, int, Iterator[tuple[float, bool]]]] = []
        now = 0.0
        while True:
            while len(live) < self.concurrent and (due := self.agenda.due(self.records)):
                begun = self.begin(due)
                took, _ = next(begun)
                heapq.heappush(live, (now + took, len(self.records), begun))
            if not live:
                return
            now, number, trial = heapq.heappop(live)
            took, ended = next(trial)
            if not ended:
                heapq.heappush(live, (now + took, number, trial))

    def begin(self, due: Due) -> Iterator[tuple[float, bool]]:
        """A trial: how long it takes to each measurement, and whether it has ended there."""
        number = len(self.records)
        if due.of is None:
            params = self.proposer.propose(due, self.records).params
            config = self.table.nearest(self.space.parameters, dict(params), set(self.configs))
            which = 0
        else:
            config, which = self.configs[due.of], 1 + due.index
        record = Record(
            number, None, dict(self.table.params[config]), {}, 0.0, (), (), due.role, due.of
        )
        self.records.append(record)
        self.configs.append(config)
        self.add(record, "started", 0, None, None, {})
        return self.curve(record, self.table.runs[config][self.orders[config][which]])

    def curve(self, record: Record, run: Recorded) -> Iterator[tuple[float, bool]]:
        spent, state = 0.0, run.state
        for part, row in enumerate(run.measured, 1):
            yield row["seconds"] - spent, False
            spent = row["seconds"]
            data = {"best": row["best"], "heldout": row["heldout"], "seconds": spent}
            failed = state == "diagnosed" and row is run.measured[-1]
            goes_on = failed or self.rungs.judge(
                record.number, part, row["best"], exempt=record.whole
            )
            self.add(
                record, "measured", part, row["score"], "continue" if goes_on else "stop", data
            )
            if not goes_on and part < self.parts:
                state = "stopped"
                break
        else:
            if run.seconds > spent:
                yield run.seconds - spent, False
                spent = run.seconds
        self.cost += spent
        self.add(record, "ended", record.step, None, state, {})
        yield 0.0, True

    def add(
        self,
        record: Record,
        kind: Any,
        step: int,
        value: float | None,
        decision: str | None,
        data: search.Row,
    ) -> None:
        """Let something happen to a trial."""
        self.events += 1
        record.add(
            Event(self.events, record.number, 1, kind, step, value, decision, data, float(step))
        )

    def found(self) -> search.Row:
        """What the sweep cost, what it picked, and what it would have picked unconfirmed."""
        worth = self.table.worth
        searched = [self.configs[r.number] for r in self.records if r.of is None]
        answer = confirmed(map(Run.tells, self.records), self.space.confirm.seeds)
        naive = best(self.records, 1)[0]
        pick = answer.best.number if answer is not None and answer.best is not None else naive
        assert self.records[naive].score is not None
        said = answer.best.mean if answer is not None and answer.best is not None else None
        return {
            "guided_seconds": self.cost,
            "guided_worth": worth[self.configs[pick]],
            "guided_says": said,
            "guided_best": min(worth[c] for c in searched),
            "unconfirmed_worth": worth[self.configs[naive]],
            "unconfirmed_says": self.records[naive].score,
            "table_best": min(worth),
        }


def at_random(table: Table, seed: int, trials: int) -> search.Row:
    """Random search: every configuration in full, on three seeds."""
    chance = random.Random(f"random {seed}")
    configs = chance.sample(range(len(table.params)), trials)
    tried = {c: chance.sample(table.runs[c], 3) for c in configs}
    pick = min(configs, key=lambda c: fmean(math.log(run.score) for run in tried[c]))
    return {
        "random_seconds": sum(run.seconds for runs in tried.values() for run in runs),
        "random_worth": table.worth[pick],
        "random_best": min(table.worth[c] for c in configs),
    }


def rows(quick: bool) -> list[Row]:
    """The compute of a sweep beside that of random search, on the recorded table."""
    asked = argparse.Namespace(trials=64, concurrent=4, overrides=[], table=TABLE)
    found = [compared((asked, seed)) for seed in range(5 if quick else 100)]
    regret = [row["guided_worth"] / row["random_worth"] for row in found]
    protocol = (
        f"whole sweeps of {asked.trials} trials on {TABLE.name}, seeds 0 to {len(found) - 1}; CPU "
        f"seconds as recorded; {say('its pick is worse than that of random search by', regret)}"
    )
    names = "sweep, confirmed", "random search × 3 seeds"
    seconds = np.array([[row["guided_seconds"], row["random_seconds"]] for row in found])
    case = "compute of a whole sweep"
    times = Times(names, seconds)
    return [times.row(*names, part="simulate", case=case, protocol=protocol, at_least=4.0)]


def told(rows: Sequence[search.Row]) -> Iterator[str]:
    """What it comes to over all sweeps, a line each."""

    def ratios(above: str, below: str) -> list[float]:
        return [row[above] / row[below] for row in rows]

    yield f"{len(rows)} sweeps; means with 95 % intervals, and 95 % upper bounds of them"
    yield say("compute, as a share of random search", ratios("guided_seconds", "random_seconds"), 0)
    yield say("regret against what random search picks", ratios("guided_worth", "random_worth"))
    yield say("regret against the best of the table", ratios("guided_worth", "table_best"))
    yield say("  that of random search", ratios("random_worth", "table_best"))
    yield say("regret against the best that it tried", ratios("guided_worth", "guided_best"))
    yield say("  unconfirmed", ratios("unconfirmed_worth", "guided_best"))
    yield say("worth of the pick above what was said of it", ratios("guided_worth", "guided_says"))
    yield say("  unconfirmed", ratios("unconfirmed_worth", "unconfirmed_says"))


def fresh(folders: Sequence[Path], simulated: Sequence[search.Row]) -> Iterator[str]:
    """What sweeps that were run cost and found, a line each, and their means."""
    by_random = fmean(row["random_worth"] for row in simulated)
    shares, ratios = list[float](), list[float]()
    for folder in folders:
        plan = json.loads((folder / "sweep.json").read_text())
        with Ledger(folder, write=False) as ledger:
            records = list(ledger.records)
        found = confirmed(map(Run.tells, records), plan["confirm"]["seeds"])
        assert found is not None
        assert found.best is not None
        assert found.best.mean is not None
        whole = 3 * plan["trials"] * 1000 * plan["horizon_kimg"]
        shares.append(sum(record.step for record in records) / whole)
        ratios.append(found.best.mean / by_random)
        yield f"{folder.name}: {found.best.name}, {found.best.mean:.4g}, {shares[-1]:.1%} of images"
    yield say("compute, as a share of random search", shares, 0)
    yield say("worse than what random search picks", ratios)


def say(what: str, values: Sequence[float], from_: float = 1.0) -> str:
    """The mean of some values above a number, in percent."""
    from scipy.stats import t

    mean, error = fmean(values) - from_, stdev(values) / math.sqrt(len(values))
    quantiles = (t.ppf(share, len(values) - 1) for share in (0.025, 0.975, 0.95))
    low, high, bound = (100 * (mean + q * error) for q in quantiles)
    return f"{what}: {100 * mean:.2f} % ({low:.2f} to {high:.2f}; at most {bound:.2f})"


if __name__ == "__main__":
    main()
