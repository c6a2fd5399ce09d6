"""Curves of trials that were recorded in full, from a results folder, a Parquet or a CSV file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sweeper.space.source import InputError

NEEDED = ("trial", "images", "score")
FEWEST = 5
"""Trials that are worth a replay."""
BROKEN = ("diverged", "diagnosed")
"""How trials end that were recorded as far as they go."""
AGAIN = ("baseline", "confirm", "ablation")
"""Trials that no rung ever judges."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """A trial in full: at so many parts of the budget, the best score so far, and what it had cost
    by then. One that broke has no score where it did, and its last cost is of that."""

    stages: tuple[int, ...]
    bests: tuple[float, ...]
    costs: tuple[float, ...]
    broken: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """Trials whose whole curves are known, of ``all`` that there are.

    The budget of a trial, of ``horizon`` images, has so many ``parts``, each with a measurement at
    its end; costs are in ``unit``.
    """

    curves: tuple[Curve, ...]
    parts: int
    horizon: int
    all: int
    unit: str
    concurrent: int = 1
    by: str | None = None


def recorded(path: Path) -> Recorded:
    """The trials of a results folder, or of a table that has a row for each measurement: of which
    ``trial``, after how many ``images``, its ``score``; and, if they are known, the ``seconds``
    that it took, the ``state`` that the trial ended in, and parameters in columns ``param.PATH``.

    Raises InputError for what is none of these, and if too few trials are known in full.
    """
    if (path / "sweep.json").is_file():
        return _of_folder(path)
    rows = _table(path).to_pylist()
    if missing := [name for name in NEEDED if rows and name not in rows[0]]:
        columns = ", ".join(NEEDED)
        law = f"a table of curves has the columns {columns}, but {', '.join(missing)} is missing"
        raise InputError([f"{path}: {law}"])
    return _known(path, rows, horizon=None)


def _of_folder(folder: Path) -> Recorded:
    file = folder / "sweep.json"
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError([f"{file}: this is not what sweeper wrote there"]) from None
    trials = {row["trial"]: row for row in _table(folder / "trials.parquet").to_pylist()}
    searched = {
        number: {k: v for k, v in row.items() if k == "state" or k.startswith("param.")}
        # On an axis of the budget other than images, how many a trial sees is its own.
        | {"horizon_kimg": json.loads(row["config"]).get("horizon_kimg", plan["horizon_kimg"])}
        for number, row in trials.items()
        if row["baseline"] is None and row.get("role") not in AGAIN
    }
    rows = [
        row | searched[row["trial"]]
        for row in _table(folder / "measurements.parquet").to_pylist()
        if row["trial"] in searched
    ]
    horizon = round(1000 * plan["horizon_kimg"])
    return _known(folder, rows, horizon, plan.get("concurrency", 1), plan.get("by"))


def _table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            return pyarrow.csv.read_csv(path)
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        law = "this is a results folder, a Parquet file or a CSV file with measurements"
        raise InputError([f"{path}: {law}, but {str(error).splitlines()[0]}"]) from None


def _known(
    path: Path,
    rows: Iterable[Row],
    horizon: int | None,
    concurrent: int = 1,
    by: str | None = None,
) -> Recorded:
    ordered = sorted(rows, key=itemgetter("trial", "images"))
    trials = [list(group) for _, group in groupby(ordered, itemgetter("trial"))]
    whole = horizon or max((row["images"] for row in ordered), default=1)
    parts = max(map(len, trials), default=1)
    unit = "images" if any(row.get("seconds") is None for row in ordered) else "seconds"
    curves = [_curve(trial, parts, whole, unit) for trial in trials]
    full = [c for c in curves if c.broken or c.stages[-1] >= parts]
    if len(full) < FEWEST:
        law = f"a replay takes trials that were recorded in full, at least {FEWEST} of them"
        hint = "with budget.rungs: none no trial is stopped"
        raise InputError([f"{path}: {law}, but there are {len(full)} of {len(curves)} ({hint})"])
    return Recorded(tuple(full), parts, whole, len(curves), unit, concurrent, by)


def _curve(rows: list[Row], parts: int, horizon: int, unit: str) -> Curve:
    last = rows[-1]
    nothing = not _number(last["score"])
    broken = nothing or last.get("state") in BROKEN
    # The measurement at which a diagnosis failed is judged by nobody.
    unjudged = nothing or last.get("state") == "diagnosed"
    judged = [row for row in (rows[:-1] if unjudged else rows) if _number(row["score"])]
    horizon = round(1000 * last["horizon_kimg"]) if "horizon_kimg" in last else horizon
    bests, best = list[float](), math.inf
    for row in judged:
        best = min(best, row["score"])
        bests.append(best)
    return Curve(
        tuple(round(parts * row["images"] / horizon) for row in judged),
        tuple(bests),
        tuple(float(row[unit]) for row in ([*judged, last] if unjudged else judged)),
        broken,
        {k.removeprefix("param."): v for k, v in last.items() if k.startswith("param.")},
    )


def _number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
