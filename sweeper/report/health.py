"""What the rules of health say of a results folder."""

from __future__ import annotations

import json

from sweeper.ledger.come import come
from sweeper.ledger.health import Finding, Seen, health
from sweeper.ledger.ledger import Ledger
from sweeper.report.ranking import Row, Sweep


def of_sweep(sweep: Sweep) -> list[Finding]:
    """What there is to be said of a sweep, the most pressing first."""
    counts: dict[str, int] = {}
    if (sweep.folder / "ledger.sqlite").is_file():
        ledger = Ledger(sweep.folder, write=False)
        try:
            counts = ledger.counts
        finally:
            ledger.close()
    return health(
        {**sweep.plan, "parameters": sweep.parameters},
        [seen(sweep, trial) for trial in sweep.trials],
        counts,
    )


def seen(sweep: Sweep, trial: Row) -> Seen:
    """A trial as the rules see it, its curve on the axis of the sweep's budget."""
    config = json.loads(trial["config"] or "{}")
    names = (spec["name"] for spec in sweep.parameters)
    return Seen(
        number=trial["trial"],
        of=trial.get("of"),
        role=trial.get("role") or ("search" if trial["baseline"] is None else "baseline"),
        baseline=trial["baseline"],
        state=trial["state"],
        score=trial["score"],
        params={name: trial.get(f"param.{name}") for name in names},
        curve=[
            (come(sweep.plan, config, m["images"]), m["best"])
            for m in sweep.measured(trial)
            if m["best"] is not None
        ],
    )
