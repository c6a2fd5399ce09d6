"""The best trials of a sweep, as lines or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from sweeper.ledger.names import lined
from sweeper.report import text
from sweeper.report.ranking import Sweep, load, short_names, told, value_of


def top_lines(folder: Path, n: int) -> list[str]:
    """A table of the best ``n`` trials: scores, states and searched parameters; and what fresh
    seeds say of them, where some were run."""
    sweep = load(folder)
    names = [p["name"] for p in sweep.parameters]
    short, fresh = short_names(names), again(sweep)
    rows = [
        [
            "rank",
            "trial",
            sweep.plan["metric"],
            "held out",
            *(["fresh seeds"] if fresh else []),
            "state",
            "kimg",
            *(short[name] for name in names),
        ]
    ]
    for rank, trial in enumerate(sweep.ranking[:n], 1):
        values = [text.value(value_of(trial, name)) for name in names]
        state = f"{trial['state']} ({trial['baseline']})" if trial["baseline"] else trial["state"]
        rows.append(
            [
                str(rank),
                trial["name"],
                text.score(trial["score"]),
                text.score(trial["heldout"]),
                *([fresh.get(trial["trial"], text.NONE)] if fresh else []),
                state,
                text.kimg(trial["images"]),
                *values,
            ]
        )
    return lined(rows) + (["", *told(sweep)] if fresh else [])


def again(sweep: Sweep) -> dict[int, str]:
    """What each trial came to on fresh seeds, with its interval."""
    found = {}
    for c in sweep.confirmed.order if sweep.confirmed is not None else ():
        span = f" ({' to '.join(map(text.score, c.interval))})" if c.interval else ""
        found[c.number] = f"{text.score(c.mean)}{span}"
    return found


def top_json(folder: Path, n: int) -> str:
    """The best ``n`` trials with all that is known of them."""
    sweep = load(folder)
    best = [{"rank": rank, **trial} for rank, trial in enumerate(sweep.ranking[:n], 1)]
    fresh = sweep.confirmed.plain() if sweep.confirmed is not None else None
    whole = {"schema": 1, "metric": sweep.plan["metric"], "trials": best, "confirmed": fresh}
    return json.dumps(whole, indent=2, default=str)
