"""The section of the report on what fresh seeds say of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sweeper.ledger.confirmed import TINY, Confirmed
from sweeper.report.ranking import Row, Sweep

WIDTH, ROOM = 160, 6
"""Pixels of the drawing beside a row, and what is left free at either side."""


def shown(sweep: Sweep) -> dict[str, Any] | None:
    """What the section holds; None where nothing was run on fresh seeds."""
    found = sweep.confirmed
    if found is None:
        return None
    return {
        "by": found.by,
        "complete": found.complete,
        "deviation": found.means.deviation,
        "rows": _rows(found),
    }


def _rows(found: Confirmed) -> list[Row]:
    """A row a configuration; where its runs, its mean and its interval lie is drawn on one
    logarithmic scale for all."""
    ends = [x for c in found.order for x in (*c.values, *(c.interval or ()))]
    rows = []
    for c in found.order:
        row = c.plain() | {"name": c.name, "dots": _places(c.values, ends), "bar": None}
        if c.interval is not None and c.mean is not None:
            row["bar"] = _places([c.interval[0], c.mean, c.interval[1]], ends)
        row["colour"] = "best" if c is found.best else "base" if c.baseline else "good"
        rows.append(row)
    return rows


def _places(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Where values stand between the least and the greatest of all."""
    logs = [math.log(max(x, TINY)) for x in ends]
    low, span = min(logs, default=0.0), (max(logs, default=0.0) - min(logs, default=0.0)) or 1.0
    return [
        round(ROOM + (WIDTH - 2 * ROOM) * (math.log(max(x, TINY)) - low) / span, 1) for x in values
    ]
