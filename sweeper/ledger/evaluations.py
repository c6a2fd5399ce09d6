"""What ``sweeper evaluate`` has measured, in one table beside the results folders."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FILE = "evaluations.parquet"
FIXED = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("what", pa.string()),
        ("name", pa.string()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("samples", pa.int64()),
        ("protocol", pa.string()),
        ("protocol_text", pa.string()),
    ]
)


def add(out: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Put rows after those that are there; metrics are columns ``metric.NAME``. The table is
    replaced as a whole."""
    path = out / FILE
    before = pq.read_table(path).to_pylist() if path.is_file() else []
    whole = [*before, *rows]
    extra = sorted({name for row in whole for name in row} - set(FIXED.names))
    schema = pa.schema([*FIXED, *((name, pa.float64()) for name in extra)])
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    pq.write_table(pa.Table.from_pylist([dict(row) for row in whole], schema), draft)
    draft.replace(path)
    return path
