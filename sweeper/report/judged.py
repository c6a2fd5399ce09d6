"""Whether it was right to stop trials early: what each rung told of the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweeper.ledger.health import Seen, foretold
from sweeper.report.health import seen
from sweeper.report.ranking import Row, Sweep


def shown(sweep: Sweep) -> list[Row]:
    """A row a rung: where it is, how many came to it and were stopped there, how well the order
    there is that at the end, and which place the best trial had there; empty without rungs."""
    trials = [seen(sweep, trial) for trial in sweep.trials if trial.get("of") is None]
    levels = list(sweep.plan.get("rungs", []))
    rows = []
    for n, level in enumerate(levels, 1):
        beyond = levels[n] if n < len(levels) else math.inf
        there = [trial for trial in trials if trial.log(level) is not None]
        found = foretold(trials, level)
        rows.append(
            {
                "rung": n,
                "images": level,
                "came": len(there),
                "stopped": sum(t.state == "stopped" and t.curve[-1][0] < beyond for t in there),
                "place": _place(sweep, there, level),
                "trials": found.trials if found else 0,
                "correlation": found.correlation if found else None,
                "among": found.among if found else None,
            }
        )
    return [row for row in rows if row["came"]]


def _place(sweep: Sweep, there: Sequence[Seen], level: int) -> int | None:
    """Which place the best trial of the sweep had among those that came to a rung."""
    best = sweep.best
    logs = {trial.number: log for trial in there if (log := trial.log(level)) is not None}
    if best is None or best["trial"] not in logs:
        return None
    return 1 + sum(log < logs[best["trial"]] for log in logs.values())
