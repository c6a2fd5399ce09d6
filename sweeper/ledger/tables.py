"""Parquet tables of a sweep: projections of the ledger, written whole and renamed."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.ledger.ledger import Event, Ledger, Record

REFRESH = 5.0
"""Seconds between two writings of the tables while trials run."""
SHARE = 0.05
"""The part of a sweep's time that writing them may take; a long table is written less often."""
BATCH = 100
"""Trials whose long rows are in memory at a time."""


def write_tables(ledger: Ledger, folder: Path, protocol: str, *, closing: bool = True) -> None:
    """Write ``trials.parquet``, ``measurements.parquet`` and ``verdicts.parquet`` of a results
    folder and, when its sweep is ``closing``, the long ``windows.parquet`` and ``layers.parquet``.

    ``protocol`` is the hash of the evaluation protocol; it stands on every row of a score, and rows
    of different protocols are never to be compared.
    """
    Tables(ledger, folder, protocol).write(closing=closing)


class Tables:
    """Keeps the Parquet tables of a results folder some seconds behind the ledger, within their
    share of the time. The rows of trials that have ended are made once."""

    def __init__(self, ledger: Ledger, folder: Path, protocol: str) -> None:
        self.ledger, self.folder, self.protocol = ledger, folder, protocol
        self._due = 0.0
        self._ended: set[int] = set()
        self._rows: dict[str, pa.Table] = {}

    def observe(self, event: Event) -> None:
        if time.monotonic() >= self._due:
            self.write()

    def write(self, *, closing: bool = False) -> None:
        """Write them now; when the sweep is ``closing``, the long ones, too."""
        begun = time.monotonic()
        for name, table in self.tables().items():
            with _replaced(self.folder / f"{name}.parquet") as draft:
                pq.write_table(table, draft)
        if closing:
            self._stream("windows", WINDOWS, window_rows)
            self._stream("layers", LAYERS, layer_rows)
        now = time.monotonic()
        self._due = now + max(REFRESH, (now - begun) / SHARE)

    def tables(self) -> dict[str, pa.Table]:
        """The short ones, by name, as the ledger has them now."""
        records = [r for r in self.ledger.records if r.number not in self._ended]
        ended = [r for r in records if r.ended]
        for some in _batches(ended):
            self._rows = self._joined(some)
        self._ended.update(r.number for r in ended)
        whole = self._joined([r for r in records if r.number not in self._ended])
        return {
            name: table.sort_by([(key, "ascending") for key in KEYS if key in table.column_names])
            for name, table in whole.items()
        }

    def _joined(self, records: Sequence[Record]) -> dict[str, pa.Table]:
        """The rows of ended trials, and those of some more."""
        more = {
            "trials": _table(trial_rows(records, self.protocol), TRIALS),
            "measurements": _table(measurement_rows(records, self.protocol), MEASUREMENTS),
            "verdicts": _table(verdict_rows(records), VERDICTS),
        }
        return {
            name: _joined(self._rows[name], table) if name in self._rows else table
            for name, table in more.items()
        }

    def _stream(
        self,
        name: str,
        schema: pa.Schema,
        rows: Callable[[Sequence[Record]], list[dict[str, Any]]],
    ) -> None:
        """Write a table that is too long for the memory."""
        with (
            _replaced(self.folder / f"{name}.parquet") as draft,
            pq.ParquetWriter(draft, schema) as writer,
        ):
            for some in _batches(self.ledger.records):
                writer.write_table(pa.Table.from_pylist(rows(some), schema))


KEYS = ("trial", "images")
"""By what rows are sorted."""

TRIALS = pa.schema(
    [
        ("trial", pa.int64()),
        ("name", pa.string()),
        ("state", pa.string()),
        ("baseline", pa.string()),
        ("role", pa.string()),
        ("of", pa.int64()),
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
        ("full_protocol", pa.string()),
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
        ("full_protocol", pa.string()),
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
    not chosen, and each metric beside the score a column ``metric.NAME``."""
    return [
        {
            "trial": r.number,
            "name": r.name,
            "state": r.state,
            "baseline": r.baseline,
            "role": r.role,
            "of": r.of,
            "score": r.score,
            "best_images": r.best_step,
            "heldout": r.heldout,
            "images": r.step,
            "seconds": r.seconds,
            "attempts": r.attempts,
            "reason": r.reason,
            "warnings": r.warnings,
            "traceback": r.last.data.get("traceback") if r.last is not None and r.ended else None,
            "protocol": protocol,
            "full_protocol": r.full_protocol,
            "config": json.dumps(r.config),
            "created": round(r.at * 1e6),
        }
        | {f"param.{name}": value for name, value in r.params.items()}
        | {f"metric.{name}": value for name, value in r.metrics.items()}
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
            "full_protocol": e.data.get("full_protocol"),
            "at": round(e.at * 1e6),
        }
        | {f"loss.{name}": value for name, value in e.data["losses"].items()}
        | {f"variety.{name}": value for name, value in (e.data.get("variety") or {}).items()}
        | {f"metric.{name}": value for name, value in e.data.get("metrics", {}).items()}
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


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (records[i : i + BATCH] for i in range(0, len(records), BATCH))


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A draft that takes the place of a file when it is whole."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    yield draft
    os.replace(draft, path)


def _table(rows: Sequence[Mapping[str, Any]], fixed: pa.Schema) -> pa.Table:
    extra = sorted({name for row in rows for name in row} - set(fixed.names))
    columns = {
        name: pa.array([row.get(name) for row in rows], fixed.field(name).type)
        for name in fixed.names
    }
    columns |= {name: _column([row.get(name) for row in rows]) for name in extra}
    return pa.table(columns)


def _column(values: Sequence[Any]) -> pa.Array:
    """One type per column: numbers stay numbers, a mixture becomes its text."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if v is None else str(v) for v in values], pa.string())
    return pa.array(values)


def _joined(first: pa.Table, second: pa.Table) -> pa.Table:
    """Two tables as one, whose columns have a type that suits both."""
    fixed = [name for name in first.column_names if "." not in name]
    extra = sorted({*first.column_names, *second.column_names} - set(fixed))
    return pa.table({name: _chunks(first, second, name) for name in (*fixed, *extra)})


def _chunks(first: pa.Table, second: pa.Table, name: str) -> pa.ChunkedArray:
    parts = [t[name] if name in t.column_names else pa.nulls(len(t)) for t in (first, second)]
    kinds = {part.type for part in parts} - {pa.null()}
    if len(kinds) <= 1 or kinds == {pa.int64(), pa.float64()}:
        kind = pa.float64() if len(kinds) == 2 else next(iter(kinds), pa.null())
        parts = [part.cast(kind) for part in parts]
    else:
        parts = [
            pa.array([None if v is None else str(v) for v in part.to_pylist()], pa.string())
            for part in parts
        ]
    return pa.chunked_array(
        [chunk for p in parts for chunk in (p.chunks if isinstance(p, pa.ChunkedArray) else [p])],
        parts[0].type,
    ).combine_chunks()
