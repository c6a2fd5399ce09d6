"""The table of an ablation: what each choice of a winner is worth, on fresh seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper.ledger.confirmed import TINY, Means
from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.names import lined, short_names
from sweeper.report import text
from sweeper.report.effects import SURE, Estimate, change, holm
from sweeper.report.ranking import Row, Sweep, load, stands

NOTHING, EVERYTHING = "", "everything"
"""What is taken back in the winner's own runs, and in the baseline's."""


@dataclass(frozen=True)
class Ablated:
    """The winner with one choice taken back: from what to what, how many runs there were and how
    many of them broke, the mean score of the others, and by how much that differs from the
    winner's. ``adjusted`` is the p-value of that among all choices, by Holm."""

    path: str
    was: Any
    now: Any
    runs: int
    broken: int
    mean: float | None
    change: Estimate | None
    adjusted: float = 1.0

    @property
    def says(self) -> str:
        """Whether the choice was worth it."""
        if self.mean is None:
            return "every run broke" if self.runs else "to come"
        if self.change is None:
            return "one run more would give an interval"
        if self.adjusted < 1 - SURE:
            return "the choice helps" if self.change.difference > 0 else "the choice hurts"
        if self.change.chance < 1 - SURE:
            return "not enough evidence: among so many choices one does as much by chance"
        return "not enough evidence"


@dataclass(frozen=True)
class Ablation:
    """What an ablation found: the winner's own runs, each choice taken back, and all of them, which
    is the baseline. ``by`` is the number that they are compared by."""

    winner: str
    baseline: str
    by: str
    rows: list[Ablated]


def ablation(sweep: Sweep) -> Ablation | None:
    """The sweep's latest ablation; None where there was none. Means are of logarithms, with a
    variance pooled over all of its groups; the winner's runs are those on fresh seeds alone."""
    asked = sweep.plan.get("ablation")
    if not asked:
        return None
    groups = _groups(sweep, asked)
    ended = [run for runs in groups.values() for run in runs]
    scored = [run for run in ended if run["state"] not in BROKEN and run["score"] is not None]
    by = "heldout" if all(run["heldout"] is not None for run in scored) else "score"
    values = {
        path: [math.log(max(r[by], TINY)) for r in runs if r in scored]
        for path, runs in groups.items()
    }
    of = next((t for t in sweep.trials if t["trial"] == asked["of"]), None)
    rows = [
        _row(path, groups[path], values, *_values(path, of, groups[path], asked["baseline"]))
        for path in groups
    ]
    chances = [row.change.chance if row.change else 1.0 for row in rows]
    told = [replace(row, adjusted=p) for row, p in zip(rows, _adjusted(rows, chances), strict=True)]
    name = of["name"] if of else f"t{asked['of']:03d}"
    return Ablation(name, asked["baseline"], by, told)


def _adjusted(rows: Sequence[Ablated], chances: Sequence[float]) -> list[float]:
    """p-values by Holm among the choices; the winner and the baseline are none."""
    choices = [i for i, row in enumerate(rows) if row.path not in (NOTHING, EVERYTHING)]
    found = dict(zip(choices, holm([chances[i] for i in choices]), strict=True))
    return [found.get(i, chance) for i, chance in enumerate(chances)]


def _groups(sweep: Sweep, asked: Row) -> dict[str, list[Row]]:
    """The runs that have ended by what is taken back in them."""
    paths, runs = asked["paths"], [t for t in sweep.trials if t.get("role") == "ablation"]
    named = list(enumerate(runs[asked["since"] :]))
    groups = {p: [t for k, t in named if paths[k % len(paths)] == p] for p in paths if p}
    again = [t for k, t in named if paths[k % len(paths)] == NOTHING]
    fresh = [t for t in sweep.trials if t.get("role") == "confirm"]
    base = [t for t in sweep.trials if t["baseline"] == asked["baseline"]]
    numbers = {t["trial"] for t in base}
    groups = {NOTHING: [t for t in fresh if t["of"] == asked["of"]] + again, **groups}
    groups[EVERYTHING] = base + [t for t in fresh if t["of"] in numbers and t not in base]
    live = ("running", "pending")
    return {path: [t for t in some if t["state"] not in live] for path, some in groups.items()}


def _values(path: str, of: Row | None, runs: Sequence[Row], baseline: str) -> tuple[Any, Any]:
    """What stood at a path in the winner, and what stands there now."""
    if path in (NOTHING, EVERYTHING):
        return None, baseline if path == EVERYTHING else None
    return _value(of, path) if of else None, _value(runs[0], path) if runs else None


def _value(run: Row, path: str) -> Any:
    """What stands at a path that is searched, or of one that is not, whether and which technique
    does."""
    drawn = run.get(f"param.{path}")
    if drawn is not None:
        return drawn
    found = stands(run, path)
    return found if found is not None else _there(json.loads(run["config"] or "{}"), path)


def _there(tree: Any, path: str) -> bool:
    """Whether anything stands at a path."""
    for part in path.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = tree[part]
    return tree is not False


def _row(
    path: str, runs: Sequence[Row], values: dict[str, list[float]], was: Any, now: Any
) -> Ablated:
    broken = sum(run["state"] in BROKEN for run in runs)
    own = values[path]
    mean = math.exp(math.fsum(own) / len(own)) if own else None
    found = None if path == NOTHING else _change(values, path)
    return Ablated(path, was, now, len(runs), broken, mean, found)


def _change(values: dict[str, list[float]], path: str) -> Estimate | None:
    """By how much the mean of a group differs from the winner's."""
    groups = {p: some for p, some in values.items() if some}
    if path not in groups or NOTHING not in groups:
        return None
    means = Means(list(groups.values()))
    if means.deviation is None:
        return None
    i, j = list(groups).index(path), list(groups).index(NOTHING)
    sizes = 1 / len(groups[path]) + 1 / len(groups[NOTHING])
    error = means.deviation * math.sqrt(sizes)
    n = sum(map(len, groups.values()))
    return Estimate(means.means[i] - means.means[j], error, means.freedom, n)


def cells(found: Ablation, sweep: Sweep) -> list[list[str]]:
    """The table: a title and a row for the winner, each choice taken back, and the baseline."""
    names = [spec["name"] for spec in sweep.parameters]
    short = short_names(names)
    metric = str(sweep.plan["metric"]) + (", held out" if found.by == "heldout" else "")
    table = [["taken back", "from", "to", metric, "change", "runs", ""]]
    for row in found.rows:
        runs = f"{row.runs} ({row.broken} broke)" if row.broken else str(row.runs)
        label = f"nothing: {found.winner}" if row.path == NOTHING else short.get(row.path, row.path)
        told = text.NONE if row.path == NOTHING else change(row.change)
        says = "" if row.path in (NOTHING, EVERYTHING) else row.says
        was, now = (text.value(value, 30) for value in (row.was, row.now))
        table.append([label, was, now, text.score(row.mean), told, runs, says])
    return table


def ablation_lines(folder: Path) -> list[str]:
    """The table for a terminal; no lines of a sweep that was not ablated."""
    sweep = load(folder)
    found = ablation(sweep)
    return [] if found is None else lined(cells(found, sweep))


def shown(sweep: Sweep) -> list[list[str]] | None:
    """The table for the report."""
    found = ablation(sweep)
    return None if found is None else cells(found, sweep)


def ablation_json(folder: Path) -> str:
    """The same as JSON: changes are differences of log scores, and percentages."""
    found = ablation(load(folder))
    if found is None:
        return json.dumps({"schema": 1, "event": "ablation", "rows": []})
    rows = [
        {
            "path": row.path,
            "from": row.was,
            "to": row.now,
            "runs": row.runs,
            "broken": row.broken,
            "mean": row.mean,
            "percent": row.change.percent if row.change else None,
            "adjusted": row.adjusted,
            "says": row.says,
        }
        for row in found.rows
    ]
    about = {"winner": found.winner, "baseline": found.baseline, "by": found.by}
    return json.dumps({"schema": 1, "event": "ablation", **about, "rows": rows})
