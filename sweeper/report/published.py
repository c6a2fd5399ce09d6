"""A sweep's numbers beside those of a paper: read from the results folder alone."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeper.ledger.ledger import BROKEN
from sweeper.report.ranking import METRIC, Row, Sweep

RESAMPLES = 2000
FEWEST = 3
"""Of fewer numbers there is no order to speak of."""


@dataclass(frozen=True)
class Line:
    """A paper's number, and what the runs of a sweep came to that are of the same setting."""

    name: str
    theirs: float
    deviation: float | None
    source: str
    ours: tuple[float, ...]
    runs: int
    broken: int

    @property
    def mean(self) -> float | None:
        """The mean of our runs, if there is one."""
        return math.fsum(self.ours) / len(self.ours) if self.ours else None

    @property
    def spread(self) -> float | None:
        """The sample deviation of our runs, if there are two."""
        return statistics.stdev(self.ours) if len(self.ours) > 1 else None


@dataclass(frozen=True)
class Tau:
    """Kendall's rank correlation τ_b of two orders, with a bootstrap interval of 95 % over the
    seeds of our runs; none where every setting was run once."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Table:
    """The numbers of one metric on one data set."""

    data: str
    metric: str
    lines: tuple[Line, ...]
    tau: Tau | None

    @property
    def says(self) -> str:
        """What it comes to, in a sentence."""
        run = sum(bool(line.ours) for line in self.lines)
        if not run:
            return "not run by us"
        some = "" if run == len(self.lines) else f", of {run} that were run of {len(self.lines)}"
        if self.tau is None:
            return f"too few were run to compare their order{some}"
        if self.tau.low is None or self.tau.high is None:
            return f"Kendall's τ {self.tau.value:.2f}{some}; each was run once: no interval"
        between = f"95 % over seeds: {self.tau.low:.2f} to {self.tau.high:.2f}"
        return f"Kendall's τ {self.tau.value:.2f} ({between}){some}"


def tables(sweep: Sweep) -> list[Table]:
    """Every metric and data set that the space brings numbers of, in its order."""
    entries = sweep.plan.get("published") or []
    kinds = dict.fromkeys((entry["data"], entry["metric"]) for entry in entries)
    found = []
    for data, metric in kinds:
        alike = [entry for entry in entries if (entry["data"], entry["metric"]) == (data, metric)]
        lines = tuple(_line(sweep.trials, entry) for entry in alike)
        found.append(Table(data, metric, lines, correlation(lines)))
    return found


def correlation(lines: Iterable[Line]) -> Tau | None:
    """How alike the orders of two columns are. None where fewer than three were run, or a column
    is all ties.

    The bootstrap draws the runs of each setting anew, with replacement: it says what other seeds
    of ours would have come to, and takes the paper's numbers as they are.
    """
    both = [line for line in lines if line.ours]
    theirs = np.array([line.theirs for line in both])
    if len(both) < FEWEST:
        return None
    value = float(kendall(np.array([[line.mean for line in both]], float), theirs)[0])
    if math.isnan(value):
        return None
    if all(len(line.ours) == 1 for line in both):
        return Tau(value, None, None, len(both))
    random = np.random.default_rng(0)
    drawn = [random.choice(line.ours, (RESAMPLES, len(line.ours))).mean(axis=1) for line in both]
    low, high = np.nanquantile(kendall(np.stack(drawn, axis=1), theirs), (0.025, 0.975))
    return Tau(value, float(low), float(high), len(both))


def kendall(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kendall's τ_b of each row of ``ours`` (B, n) with ``theirs`` (n,); NaN where all are tied."""
    i, j = np.triu_indices(len(theirs), 1)
    a, b = np.sign(ours[:, i] - ours[:, j]), np.sign(theirs[i] - theirs[j])
    pairs = np.sqrt((a * a).sum(1) * (b * b).sum())
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(1) / pairs, float)


def _line(trials: Sequence[Row], entry: Mapping[str, Any]) -> Line:
    runs = _runs(trials, entry)
    column = _column(runs, entry["metric"])
    return Line(
        entry["name"],
        entry["value"],
        entry["deviation"],
        entry["source"],
        tuple(float(trial[column]) for trial in runs if trial.get(column) is not None),
        len(runs),
        sum(trial["state"] in BROKEN for trial in runs),
    )


def _runs(trials: Sequence[Row], entry: Mapping[str, Any]) -> list[Row]:
    """The runs that a number is compared with: of all configurations that fit, those of the best,
    and of these, if it was confirmed, those on fresh seeds."""
    groups: dict[int, list[Row]] = {}
    for trial in trials:
        if trial.get("role") != "ablation":
            groups.setdefault(_of(trial), []).append(trial)
    fitting = [g for g in groups.values() if _fits(g[0], entry)]
    if not fitting:
        return []
    best = min(fitting, key=_searched)
    confirmed = [trial for trial in best if trial.get("role") == "confirm"]
    return confirmed if confirmed and best[0]["baseline"] is None else best


def _of(trial: Row) -> int:
    return int(trial["trial"] if trial.get("of") is None else trial["of"])


def _searched(group: Sequence[Row]) -> tuple[float, int]:
    """What a configuration is chosen by: its mean score, as the search had it."""
    scores = [t["score"] for t in group if t.get("role") != "confirm" and t["score"] is not None]
    mean = math.fsum(scores) / len(scores) if scores else math.inf
    return mean, group[0]["trial"]


def _fits(trial: Row, entry: Mapping[str, Any]) -> bool:
    if not entry["setting"]:
        return bool(trial["baseline"] == entry["name"])
    config = json.loads(trial["config"] or "{}")
    return all(has(config, path, value) for path, value in entry["setting"].items())


def has(config: Mapping[str, Any], path: str, value: Any) -> bool:
    """Whether a trial has a value at a path; true is to have something there, false nothing."""
    found: Any = config
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(value, bool):
        return value != (found is None or found is False)
    if isinstance(found, Mapping):
        return value in found
    return bool(found == value)


def _column(runs: Sequence[Row], metric: str) -> str:
    """Where a metric stands; the distance is that on what was held out, if every run has it."""
    if metric != "fid":
        return METRIC + metric
    return "score" if any(trial["heldout"] is None for trial in runs) else "heldout"
