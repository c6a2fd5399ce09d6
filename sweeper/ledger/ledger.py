"""The ledger of a sweep: one sqlite file, written by one driver, from which everything else can be
made again."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Kind = Literal["started", "measured", "ended", "lost"]
State = Literal["pending", "running", "completed", "stopped", "diverged", "diagnosed", "failed"]
BROKEN: tuple[State, ...] = ("diverged", "diagnosed", "failed")
"""How trials end that count for nothing, whatever they scored."""
ENDED: frozenset[State] = frozenset({"completed", "stopped", *BROKEN})

SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    number INTEGER PRIMARY KEY,
    baseline TEXT,
    params TEXT NOT NULL,
    config TEXT NOT NULL,
    at REAL NOT NULL,
    warnings TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    trial INTEGER NOT NULL REFERENCES trials(number),
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER NOT NULL,
    value REAL,
    decision TEXT,
    data TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS measured_once ON events(trial, step) WHERE kind = 'measured';
CREATE UNIQUE INDEX IF NOT EXISTS ended_once ON events(trial) WHERE kind = 'ended';
CREATE INDEX IF NOT EXISTS of_trial ON events(trial, seq);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
LATER = "ALTER TABLE trials ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]'"
"""What ledgers lack that were begun before trials had warnings."""


class LedgerError(RuntimeError):
    """A ledger that cannot be used: held by another driver, or damaged."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial.

    ``measured``: at ``step`` images the score was ``value``, and ``decision`` is what the rungs
    said (``continue`` or ``stop``). ``ended``: ``decision`` is the final state and
    ``data["reason"]`` says why. ``started`` and ``lost`` bracket an attempt that a worker began, or
    did not survive.
    """

    seq: int
    trial: int
    attempt: int
    kind: Kind
    step: int
    value: float | None
    decision: str | None
    data: dict[str, Any]
    at: float

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """What the diagnostics say at a measurement, good and bad."""
        return list(self.data.get("verdicts", ()))


def failing(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The verdict of a measurement that ends its trial, if there is one."""
    return next((v for v in data.get("verdicts", ()) if v["level"] == "fail"), None)


@dataclass
class Record:
    """One trial as the ledger knows it: what it is, and all that happened to it, in order."""

    number: int
    baseline: str | None
    params: dict[str, Any]
    config: dict[str, Any]
    at: float
    events: list[Event] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"t{self.number:03d}"

    @property
    def state(self) -> State:
        match self.events:
            case []:
                return "pending"
            case [*_, Event(kind="ended", decision=decision)]:
                return decision  # type: ignore[return-value]
            case [*_, Event(kind="lost")]:
                return "pending"
        return "running"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def attempts(self) -> int:
        return sum(event.kind == "started" for event in self.events)

    @property
    def lost(self) -> int:
        return sum(event.kind == "lost" for event in self.events)

    @property
    def measured(self) -> list[Event]:
        return [event for event in self.events if event.kind == "measured"]

    @property
    def step(self) -> int:
        """Real images shown to D at the last measurement."""
        return max((event.step for event in self.measured), default=0)

    @property
    def score(self) -> float | None:
        """The best value measured so far."""
        return min((e.value for e in self.measured if e.value is not None), default=None)

    @property
    def best_step(self) -> int | None:
        """Real images shown to D when the best value was measured."""
        values = [(e.value, e.step) for e in self.measured if e.value is not None]
        return min(values)[1] if values else None

    @property
    def heldout(self) -> float | None:
        """The value of the best checkpoint on held-out latents and references, once it is known."""
        values = [e.data["heldout"] for e in self.measured if e.data.get("heldout") is not None]
        return values[-1] if values else None

    def fresh(self, event: Event) -> list[dict[str, Any]]:
        """The verdicts of a measurement that the one before did not come to."""
        earlier = [e for e in self.measured if e.seq < event.seq]
        known = {(v["name"], v["level"]) for v in earlier[-1].verdicts} if earlier else set()
        return [v for v in event.verdicts if (v["name"], v["level"]) not in known]

    @property
    def reason(self) -> str | None:
        return self.events[-1].data.get("reason") if self.ended else None

    @property
    def seconds(self) -> float:
        """What the trial took so far, in seconds of its worker."""
        return max((event.data.get("seconds", 0.0) for event in self.measured), default=0.0)


class Ledger:
    """Opens, or makes, the ledger of a results folder for its one driver.

    Every method commits before it returns. Raises LedgerError when another driver holds the folder,
    or when the file is not a sound ledger.
    """

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        self.path = folder / "ledger.sqlite"
        self._lock = _hold(folder / "ledger.lock") if write else None
        self._guard = threading.RLock()
        try:
            self._db = sqlite3.connect(
                self.path if write else f"file:{self.path}?mode=ro",
                uri=not write,
                isolation_level=None,
                check_same_thread=False,
                timeout=30,
            )
            if write:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(SCHEMA)
                if "warnings" not in self._columns():
                    self._db.execute(LATER)
            self._records = self._read()
        except sqlite3.DatabaseError as error:
            self.close()
            raise LedgerError(
                f"a ledger is a sound sqlite file, but {self.path} is not: {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def records(self) -> list[Record]:
        """Every trial, by number."""
        with self._guard:
            return [self._records[n] for n in sorted(self._records)]

    @property
    def events(self) -> list[Event]:
        """Every event, in the order in which they were committed."""
        with self._guard:
            return sorted(
                (e for r in self._records.values() for e in r.events), key=lambda e: e.seq
            )

    def __getitem__(self, number: int) -> Record:
        return self._records[number]

    def add_trial(
        self,
        params: Mapping[str, Any],
        config: Mapping[str, Any],
        baseline: str | None = None,
        warnings: Sequence[str] = (),
    ) -> Record:
        """Commit to running a trial: from here on it is never proposed again, and never lost.

        ``warnings`` say what in its composition has been found to go badly together.
        """
        with self._guard:
            record = Record(
                len(self._records),
                baseline,
                dict(params),
                dict(config),
                time.time(),
                warnings=list(warnings),
            )
            self._db.execute(
                "INSERT INTO trials(number, baseline, params, config, at, warnings) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.number,
                    baseline,
                    json.dumps(record.params),
                    json.dumps(record.config),
                    record.at,
                    json.dumps(record.warnings),
                ),
            )
            self._records[record.number] = record
            return record

    def started(self, trial: int) -> Event:
        """A worker begins an attempt; its number is the event's."""
        with self._guard:
            return self._append(trial, self[trial].attempts + 1, "started", self[trial].step)

    def measured(
        self,
        trial: int,
        attempt: int,
        step: int,
        value: float,
        decision: str,
        data: Mapping[str, Any],
    ) -> Event:
        """Record a measurement and the decision taken on it, once: a repeated step returns the
        first record of it."""
        with self._guard:
            for event in self[trial].measured:
                if event.step == step:
                    return event
            return self._append(trial, attempt, "measured", step, value, decision, data)

    def ended(self, trial: int, state: State, reason: str, **data: Any) -> Event:
        """Close a trial for good, once: a trial that has ended stays as it ended."""
        with self._guard:
            record = self[trial]
            if record.ended:
                return record.events[-1]
            data["reason"] = reason
            return self._append(
                trial, record.attempts, "ended", record.step, record.score, state, data
            )

    def lost(self, trial: int, reason: str) -> Event:
        """The worker of an attempt is gone, and the trial waits to be tried again."""
        with self._guard:
            return self._append(
                trial, self[trial].attempts, "lost", self[trial].step, data={"reason": reason}
            )

    def count(self, name: str, n: int = 1) -> int:
        """Add to a named counter, such as draws that did not fit; returns its value."""
        with self._guard:
            self._db.execute(
                "INSERT INTO counts VALUES (?, ?) "
                "ON CONFLICT(name) DO UPDATE SET value = value + ?",
                (name, n, n),
            )
            return self.counts[name]

    @property
    def counts(self) -> dict[str, int]:
        with self._guard:
            return dict(self._db.execute("SELECT name, value FROM counts").fetchall())

    def _append(
        self,
        trial: int,
        attempt: int,
        kind: Kind,
        step: int,
        value: float | None = None,
        decision: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        at = time.time()
        cursor = self._db.execute(
            "INSERT INTO events(trial, attempt, kind, step, value, decision, data, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (trial, attempt, kind, step, value, decision, json.dumps(dict(data or {})), at),
        )
        seq = cursor.lastrowid
        assert seq is not None
        event = Event(seq, trial, attempt, kind, step, value, decision, dict(data or {}), at)
        self._records[trial].events.append(event)
        return event

    def _columns(self) -> set[str]:
        return {row[1] for row in self._db.execute("PRAGMA table_info(trials)")}

    def _read(self) -> dict[int, Record]:
        warned = "warnings" if "warnings" in self._columns() else "'[]'"
        rows = self._db.execute(
            f"SELECT number, baseline, params, config, at, {warned} FROM trials ORDER BY number"
        )
        records = {
            number: Record(
                number,
                baseline,
                json.loads(params),
                json.loads(config),
                at,
                warnings=json.loads(warnings),
            )
            for number, baseline, params, config, at, warnings in rows
        }
        columns = "seq, trial, attempt, kind, step, value, decision, data, at"
        for row in self._db.execute(f"SELECT {columns} FROM events ORDER BY seq"):
            seq, trial, attempt, kind, step, value, decision, data, at = row
            event = Event(seq, trial, attempt, kind, step, value, decision, json.loads(data), at)
            records[trial].events.append(event)
        return records


def _hold(path: Path) -> int:
    """Take the lock of a results folder, or say who has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(handle, 100).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise LedgerError(
            f"one driver runs a sweep at a time, but {path.parent} is held by {holder}"
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()}".encode())
    return handle
