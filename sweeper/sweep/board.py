"""Where a sweep stands: its trials at a glance, the best of them, and the time left."""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from rich.text import Text

from sweeper.ledger.come import come
from sweeper.ledger.confirmed import Confirmed, Run, confirmed, merits
from sweeper.ledger.health import Finding, Seen, health
from sweeper.ledger.ledger import BROKEN, ENDED, Event, Ledger, Record, Role, State
from sweeper.ledger.names import short_names
from sweeper.sweep.agenda import AFTER, planned
from sweeper.sweep.failures import explained

COLOURS: dict[State, str] = {
    "pending": "dim",
    "running": "cyan",
    "completed": "green",
    "stopped": "dim",
    "diverged": "yellow",
    "diagnosed": "magenta",
    "failed": "red",
}
MARK = "◆"
"""Stands beside a baseline everywhere."""
RARELY = 1.02
"""By how much the trials that have ended grow before the health of a sweep is looked at again."""
WARNED = "!"
"""Stands beside the state of a trial of which a diagnostic warns."""


@dataclass(frozen=True, slots=True)
class Row:
    """A trial as the views show it."""

    number: int
    name: str
    baseline: str | None
    role: Role
    run_of: int | None
    whole: bool
    state: State
    params: Mapping[str, Any]
    step: int
    come: int
    score: float | None
    heldout: float | None
    metrics: Mapping[str, float | None]
    values: Sequence[float]
    seconds: float
    rate: float | None
    reason: str
    at: float
    warned: str
    warned_at: float

    @classmethod
    def of(cls, record: Record, plan: Mapping[str, Any]) -> Row:
        points = (p.value for p in record.curve if p.value is not None)
        values = array("d", (value for value in points if math.isfinite(value)))
        warned_at, warned = newest_warning(record.measured) if record.warned else (0.0, "")
        return cls(
            number=record.number,
            name=record.name,
            baseline=record.baseline,
            role=record.role,
            run_of=record.of,
            whole=record.whole,
            state=record.state,
            params=record.params,
            step=record.step,
            come=come(plan, record.config, record.step),
            score=min(values, default=None),
            heldout=record.heldout,
            metrics=record.metrics,
            values=values,
            seconds=record.seconds,
            rate=record.rate,
            reason=one_line(explained(record)),
            at=record.last.at if record.last is not None else record.at,
            warned=warned,
            warned_at=warned_at,
        )

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def phase(self) -> str:
        return self.role if self.role in AFTER else "search"

    def run(self) -> Run:
        """What the trial tells of its configuration."""
        about = (self.number, self.run_of, self.role, self.baseline, self.state)
        return Run(*about, self.score, self.heldout)

    @property
    def label(self) -> str:
        if self.run_of is not None:
            return f"{self.name} of t{self.run_of:03d}"
        return f"{self.name} {MARK}" if self.baseline is not None else self.name


def newest_warning(measured: Sequence[Event]) -> tuple[float, str]:
    """Since when, and of what, a diagnostic warns at the last measurement; of several, of the
    latest."""
    found = [(0.0, "")]
    for verdict in measured[-1].verdicts if measured else ():
        since = measured[-1].at
        for event in reversed(measured):
            if not any(
                v["name"] == verdict["name"] and v["level"] == "warn" for v in event.verdicts
            ):
                break
            since = event.at
        if verdict["level"] == "warn":
            found.append((since, one_line(f"{verdict['name']}: {verdict['says']}")))
    return max(found)


class Board:
    """Every trial of a sweep, and what follows from them: the best, the work done, the time left.

    A trial is read again only when something happened to it, and so are the best of them.
    """

    def __init__(self, plan: Mapping[str, Any], ledger: Ledger) -> None:
        self.plan, self.ledger = plan, ledger
        self.horizon = round(plan["horizon_kimg"] * 1000)
        self.stages = [*plan["rungs"], self.horizon]
        self.short = short_names([parameter["name"] for parameter in plan["parameters"]])
        self.metric = str(plan["metric"])
        self.agenda = planned(plan)
        self._rows = {record.number: Row.of(record, plan) for record in ledger.records}
        self._seen = {r.number: r.last.seq for r in ledger.records if r.last is not None}
        self._best = next(iter(ranked(self._rows.values())), None)
        self._guard = threading.Lock()
        self._health: tuple[int, list[Finding]] = (-1, [])

    def learn(self, event: Event) -> bool:
        """Take in what an event changed; False when it was known, as a resumed trial's first
        measurement is."""
        with self._guard:
            if event.seq <= self._seen.get(event.trial, 0):
                return False
            self._seen[event.trial] = event.seq
            row = self._rows[event.trial] = Row.of(self.ledger[event.trial], self.plan)
            gone = self._best is not None and self._best.number == row.number and not counts(row)
            if gone or row.role == "repeat":
                self._best = next(iter(ranked(self._rows.values())), None)
            elif counts(row):
                self._best = ranked(filter(None, (row, self._best)))[0]
            return True

    @property
    def rows(self) -> list[Row]:
        """Every trial, by number."""
        with self._guard:
            return list(self._rows.values())

    @property
    def total(self) -> int:
        """How many trials there will be, as far as that is known."""
        return sum(of for _, _, of in self.phases())

    @property
    def complete(self) -> bool:
        """Whether all of them have ended."""
        return all(ended == of for _, ended, of in self.phases())

    def phases(self) -> list[tuple[str, int, int]]:
        """The search and what comes after it, if anything does: how many of its trials have ended,
        and of how many."""
        ahead = self.agenda.ahead(self.ledger.records)
        made: dict[str, list[bool]] = {name: [] for name in ahead}
        for row in self.rows:
            made.setdefault(row.phase, []).append(row.ended)
        found = [(name, sum(ends), len(ends) + ahead.get(name, 0)) for name, ends in made.items()]
        return [phase for phase in found if phase[2] or phase[0] == "search"]

    def confirmed(self) -> Confirmed | None:
        """What fresh seeds say of the best so far."""
        return confirmed(map(Row.run, self.rows), self.agenda.space.confirm.seeds)

    def health(self) -> list[Finding]:
        """What the trials say about the search itself, looked at anew when some more have ended."""
        ended = sum(row.ended for row in self.rows)
        looked, found = self._health
        if ended > looked * RARELY:
            found = health(self.plan, map(Seen.tells, self.ledger.records), self.ledger.counts)
            self._health = (ended, found)
        return found

    def __getitem__(self, trial: int) -> Row:
        return self._rows[trial]

    def passed(self, come: int) -> int:
        """How many rungs lie at or below a place on the axis of the budget; the horizon is the last
        one."""
        return sum(stage <= come for stage in self.stages)

    def newly_passed(self, event: Event) -> int | None:
        """The rung that a measurement is the first of its trial to pass."""
        if event.kind != "measured":
            return None
        record = self.ledger[event.trial]
        before = [p.step for p in takewhile(lambda p: p.step != event.step, record.curve)]
        now, earlier = (
            self.passed(come(self.plan, record.config, step))
            for step in (event.step, max(before, default=0))
        )
        return now if now > earlier else None

    def best(self) -> Row | None:
        return self._best

    def share(self) -> float:
        """The part of the work that is done: ended trials, and what the others trained so far."""
        done = sum(1.0 if r.ended else min(r.come / self.horizon, 1.0) for r in self.rows)
        return done / self.total if self.total else 1.0

    def worker_seconds(self) -> float:
        """What the sweep has cost so far, in seconds of its workers."""
        return sum(row.seconds for row in self.rows)

    def seconds_left(self, now: float) -> float | None:
        """What is left at the cost so far and with as many stops as so far; None before there is
        any cost to go by."""
        rows, cost = self.rows, self._seconds_per_image()
        if cost is None:
            return None
        odds = self._odds(rows)
        under_way = [self.left_of(row, odds, now) or 0.0 for row in rows if not row.ended]
        ahead = self.agenda.ahead(self.ledger.records)
        to_come, whole = sum(ahead.values()), [1.0] * len(odds)
        work = sum(under_way) + sum(
            n * cost * self._images_left(0, whole if phase in AFTER else odds)
            for phase, n in ahead.items()
        )
        workers = max(1, min(int(self.plan.get("concurrency", 1)), to_come + len(under_way)))
        return max(work / workers, max(under_way, default=0.0))

    def left_of(self, row: Row, odds: Sequence[float], now: float) -> float | None:
        """The seconds that a trial is expected to take yet, given its odds at each rung."""
        cost = row.seconds / row.come if row.come and row.seconds else self._seconds_per_image()
        if cost is None:
            return None
        if row.whole:
            odds = [1.0] * len(odds)
        since = now - row.at if row.state == "running" else 0.0
        return max(0.0, cost * self._images_left(row.come, odds) - since)

    def _seconds_per_image(self) -> float | None:
        rows = self.rows
        images, seconds = sum(row.come for row in rows), sum(row.seconds for row in rows)
        return seconds / images if images and seconds else None

    def _odds(self, rows: Iterable[Row]) -> list[float]:
        """The odds that a trial that comes to a rung comes to the next one as well, from the start
        on. The early-stopping factor counts as one trial, so that there are odds from the first
        minute on; trials under way count as going on, so that stops, which come early, are not
        taken for the rule."""
        searched = [row for row in rows if not row.whole]
        odds = []
        for k, (at, beyond) in enumerate(zip([0, *self.stages], self.stages, strict=False)):
            reached = [row for row in searched if row.come >= at]
            gone = sum(row.ended and row.come < beyond for row in reached)
            first = 1.0 if k == 0 else 1 / self.plan["factor"]
            odds.append((len(reached) - gone + first) / (len(reached) + 1))
        return odds

    def _images_left(self, step: int, odds: Sequence[float]) -> float:
        """How many images a trial is expected to train from ``step`` on."""
        images, chance = 0.0, 1.0
        for at, stage, going_on in zip([0, *self.stages], self.stages, odds, strict=False):
            if stage > step:
                # A rung that was passed is decided; only the start still has its risk at 0.
                chance *= going_on if at > step or step == 0 else 1.0
                images += chance * (stage - max(step, at))
        return images


def ranked(rows: Iterable[Row]) -> list[Row]:
    """The trials of the search that count for something, best first; where they were run on several
    seeds, by the mean of the runs, which is their score here."""
    rows = list(rows)
    if any(row.role == "repeat" for row in rows):
        known = merits(map(Row.run, rows))
        rows = [replace(row, score=known.get(row.number)) for row in rows]
    return sorted(filter(counts, rows), key=lambda row: (row.score, row.number))


def counts(row: Row) -> bool:
    """Whether a trial has a score to rank it by: that of a broken one is worth nothing, and what
    is run again for another trial is compared elsewhere."""
    return row.score is not None and row.state not in BROKEN and row.run_of is None


def duration(seconds: float | None) -> str:
    """``45s``, ``12m``, ``1h05m``, ``2d03h``; a dash when it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def one_line(text: str) -> str:
    """Any text on one line without control sequences: Ray colours its errors."""
    text = " ".join(text.split())
    if text.isprintable():
        return text
    return "".join(c for c in Text.from_ansi(text).plain if c.isprintable())


def kimg(images: float) -> str:
    return f"{images / 1000:.1f}"


def noun(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def metric_title(metric: str) -> str:
    """What heads a column of scores."""
    return "FID" if metric.startswith("fid") else metric


def size(shape: Sequence[int]) -> str:
    """The shape of an example as one says it: 28×28, 64×64 in 3 channels, 2."""
    match list(shape):
        case [1, height, width]:
            return f"{height}×{width}"
        case [channels, height, width]:
            return f"{height}×{width}×{channels}"
    return "×".join(map(str, shape))


def summary(plan: Mapping[str, Any]) -> list[str]:
    """What a sweep is, in a few words each."""
    data = plan["data"]
    rungs = "/".join(f"{rung / 1000:g}" for rung in plan["rungs"])
    asha = f"asha factor {plan['factor']}, rungs {rungs} of" if rungs else "no early stopping,"
    words = [
        f"{asha} {plan['horizon_kimg']:g} kimg",
        f"{data['name']} {data['examples']:,} × {size(data['shape'])}",
        str(plan["metric"]),
    ]
    if "concurrency" in plan:
        engine = f" ({plan['engine']})" if "engine" in plan else ""
        words.append(noun(int(plan["concurrency"]), "worker") + engine)
    return words
