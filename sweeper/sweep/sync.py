"""What an outage of MLflow left behind, delivered later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeper.ledger.ledger import Ledger, held
from sweeper.ledger.redact import HIDDEN, hide
from sweeper.space.brought import put_here
from sweeper.space.source import InputError
from sweeper.sweep.keeper import described
from sweeper.sweep.logs import plan_of
from sweeper.sweep.tracking import Tracker, default_uri

PATIENCE = 600.0
"""Seconds that MLflow may take for all of it."""


def sync(folder: Path, uri: str | None, say: Callable[[str], None]) -> int:
    """Tell MLflow what it lacks of a sweep, each record once: at ``uri``, or where the sweep was
    tracked. Returns how many records it still lacks.

    Raises InputError for what is no results folder, and LedgerError while a driver runs the sweep,
    which tells MLflow itself.
    """
    if not (folder / "ledger.sqlite").is_file():
        raise InputError([f"a results folder holds ledger.sqlite, but {folder} does not"])
    plan, uri = plan_of(folder), tracked(folder, uri)
    with held(folder):
        ledger = Ledger(folder, write=False)
        try:
            say(f"telling MLflow at {hide(uri)} ...")
            tracker = Tracker(plan, ledger, folder, uri)
            lacking = tracker.close(PATIENCE)
        finally:
            ledger.close()
    for line in [*tracker.warnings, *tracker.pages()]:
        say(line)
    runs = f"{len(ledger)} trials and the sweep's own run"
    say(f"MLflow lacks {lacking} records" if lacking else f"MLflow has it all: {runs}")
    return lacking


def tracked(folder: Path, uri: str | None) -> str:
    """Where MLflow is told of a sweep: at ``uri``, else where it was told before, if a sweep on
    this machine wrote that down, else in the database beside its results folder.

    Raises InputError if that was an address with a password, which is written nowhere.
    """
    known = described(folder).get("tracking") if put_here(folder / "sweep.json") else None
    if uri is None and known is not None and HIDDEN in known:
        law = f"{folder} was tracked at {known}, and passwords are not kept"
        raise InputError(
            [f"{law}: name it by --tracking-uri, or without one, which the environment has"]
        )
    return uri or known or default_uri(folder)
