"""What cannot be had both: trials that no other beats in score, cost and variety at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.report.ranking import METRIC, Row, Sweep

MOST = 24
"""How many trials of a front are listed."""


def goals(sweep: Sweep) -> list[str]:
    """The columns that a front weighs beside the score: the seconds of the worker and, where it was
    measured, recall; and what the search had for its aims."""
    wanted = ["cost", "recall", *sweep.plan.get("beside", [])]
    columns = ["seconds" if name == "cost" else METRIC + name for name in dict.fromkeys(wanted)]
    return [c for c in columns if any(t.get(c) is not None for t in _whole(sweep))]


def front(rows: Sequence[Row], goals: Sequence[str]) -> list[Row]:
    """The rows that no other beats: none is at least as good in the score and in every goal, and
    better in one. Less is better, of metrics more; a row that lacks a goal is left out."""
    points = [
        (row, _point(row, goals)) for row in rows if all(row.get(g) is not None for g in goals)
    ]
    return [row for row, here in points if not any(_beats(there, here) for _, there in points)]


def _point(row: Row, goals: Sequence[str]) -> tuple[float, ...]:
    return row["score"], *(-row[g] if g.startswith(METRIC) else row[g] for g in goals)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _whole(sweep: Sweep) -> list[Row]:
    """The trials of the search, and baselines, that were trained to the end: what was stopped cost
    less for that alone."""
    return [trial for trial in sweep.ranking if trial["state"] == "completed"]


def shown(sweep: Sweep) -> dict[str, Any] | None:
    """What the section holds; None where there is nothing to weigh."""
    aims, rows = goals(sweep), _whole(sweep)
    if not aims or len(rows) < 2:
        return None
    found = front(rows, aims)
    listed = [{"trial": t, "cells": [t[g] for g in aims]} for t in found[:MOST]]
    titles = ["worker seconds" if g == "seconds" else g.removeprefix(METRIC) for g in aims]
    return {"titles": titles, "rows": listed, "of": len(rows), "more": len(found) - len(listed)}
