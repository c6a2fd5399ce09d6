"""The best trials of a sweep, as lines or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from sweeper.report import text
from sweeper.report.ranking import load, ranking, short_names, value_of


def top_lines(folder: Path, n: int) -> list[str]:
    """A table of the best ``n`` trials: scores, states and searched parameters."""
    sweep = load(folder)
    names = [p["name"] for p in sweep.parameters]
    short = short_names(names)
    rows = [
        [
            "rank",
            "trial",
            sweep.plan["metric"],
            "held out",
            "state",
            "kimg",
            *(short[name] for name in names),
        ]
    ]
    for rank, trial in enumerate(ranking(sweep.trials)[:n], 1):
        values = [text.value(value_of(trial, name)) for name in names]
        state = f"{trial['state']} ({trial['baseline']})" if trial["baseline"] else trial["state"]
        rows.append(
            [
                str(rank),
                trial["name"],
                text.score(trial["score"]),
                text.score(trial["heldout"]),
                state,
                text.kimg(trial["images"]),
                *values,
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def top_json(folder: Path, n: int) -> str:
    """The best ``n`` trials with all that is known of them."""
    sweep = load(folder)
    best = [{"rank": rank, **trial} for rank, trial in enumerate(ranking(sweep.trials)[:n], 1)]
    return json.dumps(
        {"schema": 1, "metric": sweep.plan["metric"], "trials": best}, indent=2, default=str
    )
