"""What a sweep has left behind, without what no two runs share: times, attempts, made-up ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sweeper.ledger.ledger import Event, Ledger, Record
from sweeper.sweep.rungs import Rungs

TIMES = {"seconds", "images_per_second", "attempt", "attempts", "traceback", "at", "created"}
TABLES = ("trials", "measurements", "verdicts", "windows", "layers")


def settled(record: Record) -> list[Event]:
    """What was decided of a trial, and not how often it had to be begun."""
    return [e for e in record.events if e.kind in ("measured", "ended")]


def of_event(event: Event) -> tuple[Any, ...]:
    data = {k: v for k, v in event.data.items() if k not in TIMES}
    return (event.trial, event.kind, event.step, event.value, event.decision, data)


def ledger_of(folder: Path) -> dict[str, Any]:
    """The trials, and what was measured and decided, in the order of the commits."""
    ledger = Ledger(folder, write=False)
    try:
        trials = [(r.number, r.baseline, r.params, r.config, r.warnings) for r in ledger.records]
        events = [of_event(e) for e in ledger.events if e.kind in ("measured", "ended")]
    finally:
        ledger.close()
    return {"trials": trials, "events": events}


def tables_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of the Parquet tables."""
    return {
        name: [
            {k: v for k, v in row.items() if k not in TIMES}
            for row in pq.read_table(folder / f"{name}.parquet").to_pylist()
        ]
        for name in TABLES
    }


def mlflow_of(database: Path) -> dict[str, Any]:
    """The runs of a database by trial: status, parameters, metrics by step, tags."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("sweeper/ttur")
    assert experiment is not None
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        key = run.data.tags.get("sweeper.trial", "sweep")
        assert key not in found, f"two runs of {key}"
        own = {
            k: v
            for k, v in run.data.tags.items()
            if k.startswith("sweeper.")
            and k.rpartition(".")[2] not in ("attempts", "seq", "sweep_id")
        }
        found[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": own,
            "metrics": {
                name: sorted(
                    (m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)
                )
                for name in run.data.metrics
                if not TIMES & set(name.split("/")) and "second" not in name
            },
        }
    return found


def decisions_follow(ledger: Ledger, levels: tuple[int, ...], factor: int) -> None:
    """Every decision of the rungs is what the events committed before it make of it."""
    rungs = Rungs(levels, factor)
    for event in ledger.events:
        if event.kind != "measured":
            continue
        exempt = ledger[event.trial].baseline is not None
        go_on = rungs.judge(event.trial, event.step, event.data["best"], exempt=exempt)
        assert (event.decision == "continue") == go_on, event


def nothing_lost_or_twice(before: list[Record], after: list[Record], trials: int) -> None:
    """All of what was committed before a fault is there after it, once, and every trial ended."""
    assert [r.number for r in after] == list(range(trials))
    assert all(r.ended for r in after)
    assert len({str(sorted(r.params.items())) for r in after}) == trials
    for old, new in zip(before, after, strict=False):
        assert new.events[: len(old.events)] == old.events
    for record in after:
        steps = [e.step for e in record.measured]
        assert steps == sorted(set(steps))
        assert sum(e.kind == "ended" for e in record.events) == 1
