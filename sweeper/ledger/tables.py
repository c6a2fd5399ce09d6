"""Parquet tables of a sweep: projections of the ledger, written whole and renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.ledger.ledger import Ledger, Record


def write_tables(ledger: Ledger, folder: Path, protocol: str) -> None:
    """Write ``trials.parquet`` and ``measurements.parquet`` of a results folder.

    ``protocol`` is the hash of the evaluation protocol; it stands on every row, and rows of
    different protocols are never to be compared.
    """
    records = ledger.records
    _write(trial_rows(records, protocol), folder / "trials.parquet", TRIALS)
    _write(measurement_rows(records, protocol), folder / "measurements.parquet", MEASUREMENTS)


TRIALS = pa.schema(
    [
        ("trial", pa.int64()),
        ("name", pa.string()),
        ("state", pa.string()),
        ("baseline", pa.string()),
        ("score", pa.float64()),
        ("best_images", pa.int64()),
        ("heldout", pa.float64()),
        ("images", pa.int64()),
        ("seconds", pa.float64()),
        ("attempts", pa.int64()),
        ("reason", pa.string()),
        ("traceback", pa.string()),
        ("protocol", pa.string()),
        ("config", pa.string()),
        ("created", pa.timestamp("us", "UTC")),
    ]
)

MEASUREMENTS = pa.schema(
    [
        ("trial", pa.int64()),
        ("attempt", pa.int64()),
        ("images", pa.int64()),
        ("score", pa.float64()),
        ("best", pa.float64()),
        ("heldout", pa.float64()),
        ("decision", pa.string()),
        ("seconds", pa.float64()),
        ("images_per_second", pa.float64()),
        ("protocol", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)


def trial_rows(records: Sequence[Record], protocol: str) -> list[dict[str, Any]]:
    """A row a trial; each searched parameter is a column ``param.PATH``, null where its branch was
    not chosen."""
    return [
        {
            "trial": r.number,
            "name": r.name,
            "state": r.state,
            "baseline": r.baseline,
            "score": r.score,
            "best_images": r.best_step,
            "heldout": r.heldout,
            "images": r.step,
            "seconds": r.seconds,
            "attempts": r.attempts,
            "reason": r.reason,
            "traceback": r.events[-1].data.get("traceback") if r.ended else None,
            "protocol": protocol,
            "config": json.dumps(r.config),
            "created": round(r.at * 1e6),
        }
        | {f"param.{name}": value for name, value in r.params.items()}
        for r in records
    ]


def measurement_rows(records: Sequence[Record], protocol: str) -> list[dict[str, Any]]:
    """A row a measurement; each term of a loss is a column ``loss.PLAYER.TERM``."""
    return [
        {
            "trial": e.trial,
            "attempt": e.attempt,
            "images": e.step,
            "score": e.value,
            "best": e.data["best"],
            "heldout": e.data.get("heldout"),
            "decision": e.decision,
            "seconds": e.data["seconds"],
            "images_per_second": e.data["images_per_second"],
            "protocol": protocol,
            "at": round(e.at * 1e6),
        }
        | {f"loss.{name}": value for name, value in e.data["losses"].items()}
        for r in records
        for e in r.measured
    ]


def _write(rows: Sequence[Mapping[str, Any]], path: Path, fixed: pa.Schema) -> None:
    extra = sorted({name for row in rows for name in row} - set(fixed.names))
    columns = {
        name: pa.array([row.get(name) for row in rows], fixed.field(name).type)
        for name in fixed.names
    }
    columns |= {name: _column([row.get(name) for row in rows]) for name in extra}
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(pa.table(columns), draft)
    os.replace(draft, path)


def _column(values: Sequence[Any]) -> pa.Array:
    """One type per column: numbers stay numbers, a mixture becomes its text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.array(values)
