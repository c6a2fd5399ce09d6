"""A driver that kills itself just before or just after the n-th commit to its ledger.

``python -m tests.faults.deadly 7 before run …`` is ``sweeper run …`` with such an end.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

from sweeper.ledger import ledger as ledgers


class Deadly(sqlite3.Connection):
    """A connection that kills its process by SIGKILL at the n-th row it commits."""

    at: int = 0
    when: str = "never"
    commits: int = 0

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if not sql.startswith(("INSERT INTO trials", "INSERT INTO events")):
            return super().execute(sql, *rest)
        Deadly.commits += 1
        self._die("before")
        cursor = super().execute(sql, *rest)
        self._die("after")
        return cursor

    def _die(self, when: str) -> None:
        if (Deadly.commits, when) == (Deadly.at, Deadly.when):
            os.kill(os.getpid(), signal.SIGKILL)


def deadly(at: int, when: str) -> None:
    """From now on, this process's ledger kills it."""
    Deadly.at, Deadly.when = at, when
    connect = sqlite3.connect

    class Module:
        """The part of sqlite3 that a ledger uses, with another connection."""

        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        def connect(self, *words: Any, **named: Any) -> Any:
            return connect(*words, **named, factory=Deadly)

    ledgers.sqlite3 = Module()  # type: ignore[assignment]


if __name__ == "__main__":
    deadly(int(sys.argv[1]), sys.argv[2])
    del sys.argv[1:3]
    from sweeper.cli import main

    main()
