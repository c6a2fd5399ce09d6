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


def write_tables(ledger: Ledger, folder: Path, protocol: str, *, closing: bool = True) -> None:
    """Write ``trials.parquet``, ``measurements.parquet`` and ``verdicts.parquet`` of a results
    folder and, when its sweep is ``closing``, the long ``windows.parquet`` and ``layers.parquet``.

    ``protocol`` is the hash of the evaluation protocol; it stands on every row of a score, and rows
    of different protocols are never to be compared.
    """
    records = ledger.records
    _write(trial_rows(records, protocol), folder / "trials.parquet", TRIALS)
    _write(measurement_rows(records, protocol), folder / "measurements.parquet", MEASUREMENTS)
    _write(verdict_rows(records), folder / "verdicts.parquet", VERDICTS)
    if closing:
        _write(window_rows(records), folder / "windows.parquet", WINDOWS)
        _write(layer_rows(records), folder / "layers.parquet", LAYERS)


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
        ("warnings", pa.list_(pa.string())),
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
        ("d_steps", pa.int64()),
        ("g_steps", pa.int64()),
        ("protocol", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)

VERDICTS = pa.schema(
    [
        ("trial", pa.int64()),
        ("images", pa.int64()),
        ("name", pa.string()),
        ("level", pa.string()),
        ("says", pa.string()),
        ("advice", pa.string()),
    ]
)

WINDOWS = pa.schema(
    [
        ("trial", pa.int64()),
        ("images", pa.int64()),
        ("rounds", pa.int64()),
        ("series", pa.string()),
        ("n", pa.int64()),
        *((name, pa.float64()) for name in ("mean", "deviation", "low", "p90", "high", "ema")),
        ("spikes", pa.int64()),
        ("crossings", pa.int64()),
    ]
)

LAYERS = pa.schema(
    [
        ("trial", pa.int64()),
        ("images", pa.int64()),
        ("layer", pa.string()),
        ("gradient_norm", pa.float64()),
        ("zero_share", pa.float64()),
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
            "warnings": r.warnings,
            "traceback": r.events[-1].data.get("traceback") if r.ended else None,
            "protocol": protocol,
            "config": json.dumps(r.config),
            "created": round(r.at * 1e6),
        }
        | {f"param.{name}": value for name, value in r.params.items()}
        for r in records
    ]


def measurement_rows(records: Sequence[Record], protocol: str) -> list[dict[str, Any]]:
    """A row a measurement; each term of a loss is a column ``loss.PLAYER.TERM``, and how varied the
    samples were are columns ``variety.NAME``."""
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
            "d_steps": e.data.get("d_steps"),
            "g_steps": e.data.get("g_steps"),
            "protocol": protocol,
            "at": round(e.at * 1e6),
        }
        | {f"loss.{name}": value for name, value in e.data["losses"].items()}
        | {f"variety.{name}": value for name, value in (e.data.get("variety") or {}).items()}
        for r in records
        for e in r.measured
    ]


def verdict_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for all that a diagnostic says at a measurement."""
    return [
        {"trial": e.trial, "images": e.step, **verdict}
        for r in records
        for e in r.measured
        for verdict in e.verdicts
    ]


def window_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for every quantity in a stretch of training that ended after so many images."""
    return [
        {
            "trial": e.trial,
            "images": window["images"],
            "rounds": window["rounds"],
            "series": name,
            **series,
        }
        for r in records
        for e in r.measured
        for window in e.data.get("windows", ())
        for name, series in window["series"].items()
    ]


def layer_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row for every layer's gradient at a measurement."""
    return [
        {"trial": e.trial, "images": e.step, "layer": name, **layer}
        for r in records
        for e in r.measured
        for name, layer in e.data.get("layers", {}).items()
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
