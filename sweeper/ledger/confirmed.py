"""What fresh seeds say of the best configurations: means with intervals, which of them can be told
apart, and how often a run broke.

The best of a search were chosen by their scores, so that these scores are too good. Here only runs
count by which nothing was chosen: those that confirm and, of a baseline, every one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations
from string import ascii_letters
from typing import Any

from sweeper.ledger.ledger import BROKEN, ENDED, Record
from sweeper.ledger.names import format_score

LEVEL = 0.95
"""How surely an interval holds its mean, and all verdicts together hold."""
STRICT = 0.96
"""The level that verdicts are reached at, so that they hold at 95 % of scores that are not quite
normal, too."""
TINY = 1e-12
"""What a score of nothing is taken for on the logarithmic scale."""
MOST = 700.0
"""The greatest logarithm of a number, all but."""


@dataclass(frozen=True)
class Means:
    """The means of several groups of numbers that are normal about them with one variance.

    That variance is pooled over the groups. With no group of two numbers there is none, and then
    neither an interval nor a verdict.
    """

    groups: Sequence[Sequence[float]]

    @cached_property
    def means(self) -> list[float]:
        return [math.fsum(group) / len(group) for group in self.groups]

    @cached_property
    def freedom(self) -> int:
        """The degrees of freedom of the pooled variance."""
        return sum(len(group) - 1 for group in self.groups)

    @cached_property
    def deviation(self) -> float | None:
        """The standard deviation within the groups."""
        if not self.freedom:
            return None
        pairs = zip(self.groups, self.means, strict=True)
        squares = math.fsum((x - mean) ** 2 for group, mean in pairs for x in group)
        return math.sqrt(squares / self.freedom)

    def interval(self, i: int, picked: int = 1) -> tuple[float, float] | None:
        """Where a group's mean is: Student's interval with the pooled variance; so much wider where
        the group was ``picked`` as the lowest of so many that it holds as surely for that one."""
        if self.deviation is None:
            return None
        room = _student(self.freedom, picked) * self.deviation / math.sqrt(len(self.groups[i]))
        return self.means[i] - room, self.means[i] + room

    def difference(self, i: int, j: int) -> tuple[float, float] | None:
        """Where the mean of group ``i`` less that of ``j`` is, so wide that all differences are
        within theirs together at the level of one: Tukey's interval as Kramer (1956) has it for
        groups of unlike size."""
        if self.deviation is None:
            return None
        room = self._room(i, j, LEVEL)
        return self.means[i] - self.means[j] - room, self.means[i] - self.means[j] + room

    def apart(self, i: int, j: int) -> bool:
        """Whether two means differ as surely as that, and a little more."""
        if self.deviation is None:
            return False
        return abs(self.means[i] - self.means[j]) > self._room(i, j, STRICT)

    def _room(self, i: int, j: int, level: float) -> float:
        assert self.deviation is not None
        sizes = 1 / len(self.groups[i]) + 1 / len(self.groups[j])
        width = _tukey(level, len(self.groups), self.freedom)
        return width * self.deviation * math.sqrt(sizes / 2)


# Imported within, since scipy takes a while, and kept, since Tukey takes half a second.
@lru_cache
def _student(freedom: int, picked: int) -> float:
    from scipy.stats import t

    # The lowest of several alike misses on one side: that all of them do not is Bonferroni's.
    return float(t.isf((1 - LEVEL) / max(picked, 2), freedom))


@lru_cache
def _tukey(level: float, groups: int, freedom: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(level, max(groups, 2), freedom))


def alike(n: int, apart: Callable[[int, int], bool]) -> list[tuple[int, ...]]:
    """The largest groups of ``n`` things of which no two are apart, by what comes first in them:
    the compact display of Piepho (2004), by insertion and absorption."""
    groups = [frozenset(range(n))] if n else []
    for i, j in combinations(range(n), 2):
        if not apart(i, j):
            continue
        split = [g - {k} for g in groups if {i, j} <= g for k in (j, i)]
        kept = [g for g in groups if not {i, j} <= g]
        for group in split:
            if not any(group <= other for other in kept):
                kept.append(group)
        groups = kept
    return sorted(tuple(sorted(group)) for group in groups)


@dataclass(frozen=True)
class Run:
    """A trial as far as it tells of its configuration, whose first trial is ``of``, or itself."""

    number: int
    of: int | None
    role: str
    baseline: str | None
    state: str
    score: float | None
    heldout: float | None

    @classmethod
    def tells(cls, record: Record) -> Run:
        """What a trial of the ledger tells of its configuration."""
        about = (record.number, record.of, record.role, record.baseline, record.state)
        return cls(*about, record.score, record.heldout)

    @property
    def first(self) -> int:
        return self.number if self.of is None else self.of

    @property
    def broken(self) -> bool:
        return self.state in BROKEN


@dataclass(frozen=True)
class Configuration:
    """A configuration on fresh seeds: what its runs came to, the mean of their logarithms as a
    score, and its interval, where that of the best allows for its having been picked; and the score
    that it was chosen by, None of a baseline.

    ``letters`` are those of the groups that it is in: two that share none can be told apart.
    """

    number: int
    baseline: str | None
    runs: int
    broken: int
    chosen: float | None
    values: tuple[float, ...]
    mean: float | None = None
    interval: tuple[float, float] | None = None
    letters: str = ""

    @property
    def name(self) -> str:
        return f"t{self.number:03d}"

    @property
    def label(self) -> str:
        return self.name if self.baseline is None else self.baseline

    def plain(self) -> dict[str, Any]:
        """The same for a program."""
        fields = ("baseline", "runs", "broken", "chosen", "values", "mean", "interval", "letters")
        said = {name: getattr(self, name) for name in fields}
        return {"trial": self.name, "number": self.number, **said}


@dataclass(frozen=True)
class Confirmed:
    """The configurations that were confirmed, best first, those of which every run broke last.

    ``by`` says which number they are compared by: the one on held-out data, or the score where some
    run lacks that. ``complete`` once every run has ended: before that nothing is said to beat
    anything, since who looks often enough finds differences.
    """

    order: Sequence[Configuration]
    by: str
    complete: bool
    means: Means

    @property
    def best(self) -> Configuration | None:
        return self.order[0] if self.order and self.order[0].mean is not None else None

    @property
    def places(self) -> dict[int, int]:
        """The place of each configuration by the number of its trial, once all runs have ended.
        Baselines that come behind all others have none: they are as good as any of the search that
        was not confirmed."""
        known = [c for c in self.order if c.mean is not None] if self.complete else []
        while known and known[-1].baseline is not None:
            known.pop()
        return {c.number: place for place, c in enumerate(known)}

    @property
    def tied(self) -> list[Configuration]:
        """The best, and those that can neither be told apart from it nor from each other; nobody
        before the end."""
        first = self.best.letters[:1] if self.best else ""
        return [c for c in self.order if first and first in c.letters]

    def plain(self) -> dict[str, Any]:
        """The same for a program."""
        order = [configuration.plain() for configuration in self.order]
        return {"by": self.by, "complete": self.complete, "level": LEVEL, "order": order}

    def apart(self, one: Configuration, other: Configuration) -> bool:
        """Whether two that came to a mean can be told apart."""
        return self.complete and not set(one.letters) & set(other.letters)

    def ratio(self, one: Configuration, other: Configuration) -> tuple[float, float, float] | None:
        """How many times as large the mean of one is as another's, at least and at most, with all
        comparisons at once; None before there is a variance."""
        found = self.means.difference(self.order.index(one), self.order.index(other))
        if found is None:
            return None
        return _exp(sum(found) / 2), _exp(found[0]), _exp(found[1])


def confirmed(runs: Iterable[Run], seeds: int) -> Confirmed | None:
    """What fresh seeds say, so many ``seeds`` of each configuration. None before the first run that
    confirms has ended."""
    begun: dict[int, list[Run]] = {}
    for run in runs:
        if run.role != "ablation":
            begun.setdefault(run.first, []).append(run)
    fresh = {number: _fresh(of) for number, of in begun.items()}
    ended = {n: [run for run in of if run.state in ENDED] for n, of in fresh.items() if of}
    if not any(run.role == "confirm" for of in ended.values() for run in of):
        return None
    scored = [r for of in ended.values() for r in of if not r.broken and r.score is not None]
    by = "heldout" if all(run.heldout is not None for run in scored) else "score"
    found = [
        Configuration(
            number,
            begun[number][0].baseline,
            len(of),
            sum(run.broken for run in of),
            _chosen_by(begun[number]),
            tuple(getattr(run, by) for run in of if run in scored),
        )
        for number, of in ended.items()
        if of
    ]
    return _compared(found, by, all(len(of) >= seeds for of in ended.values()))


def merits(runs: Iterable[Run]) -> dict[int, float]:
    """What a search ranks its trials and the baselines by, by number: the score or, of several runs
    on different seeds, the mean of their logarithms as a score. A trial of which a run broke, or
    has no score yet, has none."""
    ran: dict[int, list[Run]] = {}
    for run in runs:
        if run.role not in ("confirm", "ablation"):
            ran.setdefault(run.first, []).append(run)
    scores = {n: [run.score for run in of if not run.broken] for n, of in ran.items()}
    known = {n: [s for s in of if s is not None] for n, of in scores.items()}
    return {
        n: _exp(_log_mean(of)) if len(of) > 1 else of[0]
        for n, of in known.items()
        if len(of) == len(ran[n])
    }


def _fresh(runs: Sequence[Run]) -> list[Run]:
    """The runs of a configuration by which nothing was chosen."""
    baseline = runs[0].baseline is not None
    return [run for run in runs if baseline or run.role == "confirm"]


def _chosen_by(runs: Sequence[Run]) -> float | None:
    """The score that a configuration was confirmed for; None of a baseline, which need not be."""
    scores = [run.score for run in runs if run not in _fresh(runs) and run.score is not None]
    return _exp(_log_mean(scores)) if scores else None


def _compared(found: Sequence[Configuration], by: str, complete: bool) -> Confirmed:
    """The configurations in order, with what follows from their runs."""
    some = sorted((c for c in found if c.values), key=lambda c: (_log_mean(c.values), c.number))
    means = Means([_logs(c.values) for c in some])
    groups = alike(len(some), means.apart) if complete else []
    known = [
        replace(
            c,
            mean=_exp(means.means[i]),
            interval=_exp_both(means.interval(i, len(some) if i == 0 else 1)),
            letters="".join(letter(k) for k, group in enumerate(groups) if i in group),
        )
        for i, c in enumerate(some)
    ]
    return Confirmed([*known, *(c for c in found if not c.values)], by, complete, means)


def _logs(values: Sequence[float]) -> list[float]:
    return [math.log(max(value, TINY)) for value in values]


def _log_mean(values: Sequence[float]) -> float:
    return math.fsum(_logs(values)) / len(values)


def _exp(log: float) -> float:
    """The score of a logarithm; an interval from absurd scores may reach beyond all numbers."""
    return math.exp(min(log, MOST))


def _exp_both(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (_exp(interval[0]), _exp(interval[1]))


def letter(k: int) -> str:
    """What stands for the ``k``-th group."""
    return ascii_letters[k % len(ascii_letters)]


def sentences(found: Confirmed, metric: str) -> list[str]:
    """What it comes to in words: who is best, against the baselines, and what broke."""
    best = found.best
    if best is None:
        return ["No run on a fresh seed came to a score."]
    said = [_first(found, best, metric)]
    if found.complete:
        said += [
            _against(found, best, c)
            for c in found.order
            if c.baseline is not None and c is not best
        ]
    else:
        said.append("Not every run on a fresh seed has ended: nothing is told apart before.")
    broke = [f"{c.broken} of {c.runs} runs of {c.label} broke" for c in found.order if c.broken]
    return said + ([f"{', '.join(broke)}."] if broke else [])


def _first(found: Confirmed, best: Configuration, metric: str) -> str:
    alone = len(found.tied) == 1
    value = f"{metric} {format_score(best.mean)}{_between(best.interval)}"
    held = " held out" if found.by == "heldout" else ""
    seeds = f"{len(best.values)} run" + ("s" if len(best.values) > 1 else "")
    said = f"{best.label} is {'best' if alone else 'first'} on fresh seeds, with {value}{held}"
    said += f" over {seeds}."
    if len(found.tied) > 1:
        said += f" {listed([c.label for c in found.tied])} cannot be told apart at 95 %."
    return said


def _against(found: Confirmed, best: Configuration, base: Configuration) -> str:
    name = f"the baseline {base.label}"
    if base.mean is None:
        return f"No run of {name} came to a score."
    if not found.apart(best, base):
        return f"{best.label} cannot be told from {name} at 95 %."
    ratio = found.ratio(base, best)
    assert ratio is not None
    times, low, high = (f"{x:.3g}" for x in ratio)
    return (
        f"{best.label} beats {name}, which has {format_score(base.mean)}: {times} times as much, "
        f"{low} to {high} at 95 % with all comparisons at once."
    )


def _between(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return f" (95 %: {format_score(interval[0])} to {format_score(interval[1])})"


def listed(names: Sequence[str]) -> str:
    """A, B and C."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
