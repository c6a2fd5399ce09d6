"""How commands tell people of progress and of errors."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import typer

PATIENCE = 2.0
"""Seconds that pass before short work says how far it is."""


def announce(*, quiet: bool) -> Callable[[str], None]:
    """Lines for people: on standard error when standard output is for machines."""
    return lambda line: typer.echo(line, err=quiet)


def progress(patience: float = 0.0) -> Callable[[str, int, int], None]:
    """Shows long preparations: one line, rewritten on a terminal that can, or one line each
    elsewhere. What ends within so many seconds is not worth a line."""
    begun: set[str] = set()
    start = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        if what not in begun and time.monotonic() - start < patience:
            return
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            end = "\n" if done >= total else ""
            print(f"\r{what}: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)
        elif what not in begun:
            print(f"{what} ({total:,})", file=sys.stderr, flush=True)
        begun.add(what)

    return show


EXPECTED = {
    "InputError": 2,
    "ForeignError": 4,
    "LedgerError": 4,
    "ClusterError": 4,
    "PagesError": 4,
    "StorageError": 4,
    "MixedError": 2,
    "NoSweepError": 2,
}


def refuse(error: Exception) -> int:
    """Tell of an error, and say which exit code it has."""
    from sweeper.ledger.redact import hide

    kinds = [kind.__name__ for kind in type(error).__mro__]
    code = next((EXPECTED[kind] for kind in kinds if kind in EXPECTED), None)
    if code is not None:
        ending = "\nnothing was started" if code == 2 else ""
        print(f"{hide(str(error))}{ending}", file=sys.stderr)
        return code
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="sweeper-", suffix=".log", delete=False) as file:
        file.write(hide("".join(traceback.format_exception(error))))
    print(
        f"error: {kinds[0]}: {hide(str(error))}\n"
        f"this is a fault of sweeper; its traceback is in {file.name}",
        file=sys.stderr,
    )
    return 1
