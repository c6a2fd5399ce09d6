"""The tables of a sweep for other programs: as CSV, JSON or Parquet, straight from its ledger."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import Tables

ROWS = 1000
"""Rows that are plain data at a time."""
NESTED = ("config",)
"""Columns that hold JSON."""


def table(ledger: Ledger, protocol: str, what: str) -> pa.Table:
    """The table ``what`` of a sweep, one of ``trials``, ``measurements`` and ``verdicts``, as its
    ledger has it now. ``protocol`` is the hash of the evaluation protocol."""
    return Tables(ledger, ledger.path.parent, protocol).tables()[what]


def as_csv(rows: pa.Table, out: IO[bytes]) -> None:
    """A line a row below the names of the columns; what is missing is empty, and a list is JSON."""
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(rows.column_names)
    writer.writerows([_cell(value) for value in row.values()] for row in plain(rows))
    text.detach()


def as_json(rows: pa.Table, out: IO[bytes]) -> None:
    """A list of objects, one a row; a number that is none (NaN, infinite) is null, and so is what
    is missing. A trial's configuration is an object, too."""
    before = b"[\n"
    for row in plain(rows):
        row |= {name: json.loads(row[name]) for name in NESTED if row.get(name)}
        out.write(before + json.dumps({k: _finite(v) for k, v in row.items()}).encode())
        before = b",\n"
    out.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def as_parquet(rows: pa.Table, out: IO[bytes]) -> None:
    """The table, as it lies in the results folder."""
    pq.write_table(rows, out)


FORMATS: dict[str, Callable[[pa.Table, IO[bytes]], None]] = {
    "csv": as_csv,
    "json": as_json,
    "parquet": as_parquet,
}
TABLES = ("trials", "measurements", "verdicts")


def plain(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as plain data, times as ISO 8601."""
    for batch in rows.to_batches(ROWS):
        for row in batch.to_pylist():
            yield {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
