"""The best trials of several sweeps beside each other, where their numbers may be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeper.ledger.names import lined
from sweeper.protocol import differences, same
from sweeper.report import text
from sweeper.report.ranking import Row, Sweep, answer, load, short_names, value_of


def compare_lines(folders: Sequence[Path], n: int) -> list[str]:
    """A table of the best ``n`` trials of each sweep, and what each sweep cost.

    Raises MixedError, saying what differs, when they were measured under several protocols.
    """
    sweeps = comparable(folders)
    apart = heldout_differs(sweeps)
    rows = [["rank", "sweep", "trial", sweeps[0].plan["metric"], "held out", "state", "kimg", ""]]
    for rank, (sweep, trial) in enumerate(ranked(sweeps, n), 1):
        heldout = text.NONE if apart else text.score(trial["heldout"])
        state = f"{trial['state']} ({trial['baseline']})" if trial["baseline"] else trial["state"]
        rows.append(
            [
                str(rank),
                sweep.folder.name,
                trial["name"],
                text.score(trial["score"]),
                heldout,
                state,
                text.kimg(trial["images"]),
                settings(sweep, trial),
            ]
        )
    found = [""] + [summary(sweep) for sweep in sweeps]
    if apart:
        found.append(f"held-out numbers cannot be compared: {apart}")
    return lined(rows) + found


def compare_json(folders: Sequence[Path], n: int) -> str:
    """The same as JSON, with all that is known of the trials."""
    sweeps = comparable(folders)
    trials = [
        {"rank": rank, "sweep": str(sweep.folder), **trial}
        for rank, (sweep, trial) in enumerate(ranked(sweeps, n), 1)
    ]
    whole = {"schema": 1, "metric": sweeps[0].plan["metric"], "trials": trials}
    return json.dumps(whole, indent=2, default=str)


def comparable(folders: Sequence[Path]) -> list[Sweep]:
    """Sweeps that were measured under one protocol. Raises MixedError for others."""
    sweeps = [load(folder) for folder in folders]
    same([(sweep.folder.name, sweep.plan["protocol"]) for sweep in sweeps])
    return sweeps


def heldout_differs(sweeps: Sequence[Sweep]) -> str:
    """What differs between the protocols of held-out numbers, in words."""
    first, *others = (sweep.plan.get("full_protocol", {}) for sweep in sweeps)
    return next((found for other in others if (found := differences(first, other))), "")


def ranked(sweeps: Sequence[Sweep], n: int) -> list[tuple[Sweep, Row]]:
    """The best ``n`` trials of each sweep, the lowest score of all first."""
    best = [(sweep, trial) for sweep in sweeps for trial in sweep.ranking[:n]]
    return sorted(best, key=lambda found: found[1]["score"])


def settings(sweep: Sweep, trial: Row) -> str:
    """What was searched, and what the trial has there."""
    names = [p["name"] for p in sweep.parameters]
    short = short_names(names)
    told: list[tuple[str, Any]] = [(short[name], value_of(trial, name)) for name in names]
    return text.line(" ".join(f"{k}={text.value(v)}" for k, v in told if v is not None), 100)


def summary(sweep: Sweep) -> str:
    """What a sweep found and cost, in a line."""
    found = answer(sweep)
    trials = f"{len(sweep.trials)} trials, {text.duration(found.seconds)} of training"
    times = f", {found.ratio:.2g} times lower than its baseline" if found.ratio else ""
    best = f"best {text.score(found.best['score'])}{times}" if found.best else "no score yet"
    return f"{sweep.folder.name}: {trials}, {best}"
