"""A table of a sweep, written to where it was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeper.ledger.formats import FORMATS, TABLES, table
from sweeper.registry import nearest
from sweeper.space.source import InputError
from sweeper.sweep.logs import opened, plan_of


def tabled(folder: Path, what: str, kind: str | None, output: Path | None) -> None:
    """Write the table ``what`` of a results folder to ``output``, or to standard output, in the
    format ``kind``, or in the one that the name of the file says. Raises InputError and
    LedgerError."""
    if kind is None:
        kind = output.suffix[1:].lower() if output is not None else "csv"
    write = FORMATS[of("a format", kind, tuple(FORMATS))]
    of("a table", what, TABLES)
    with opened(folder) as ledger:
        rows = table(ledger, str(plan_of(folder)["protocol_hash"]), what)
    if output is not None:
        with output.open("wb") as file:
            write(rows, file)
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise InputError(["a terminal shows text, but Parquet is none; -o FILE.parquet writes it"])
    write(rows, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def of(name: str, word: str, known: tuple[str, ...]) -> str:
    """A word, if it is one of those that are known. Raises InputError."""
    if word in known:
        return word
    close = nearest(word, list(known))
    hint = f"; did you mean {close}?" if close else ""
    raise InputError([f"{name} is one of {', '.join(known)}, but got {word!r}{hint}"])
