"""The ledger of a sweep: one sqlite file, written by one driver, from which everything else can be
made again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import socket
import sqlite3
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from sweeper.ledger.redact import hidden

Kind = Literal["started", "measured", "ended", "lost"]
State = Literal["pending", "running", "completed", "stopped", "diverged", "diagnosed", "failed"]
Role = Literal["baseline", "balanced", "search", "repeat", "confirm", "ablation"]
"""Why a trial is run: it is a baseline; a row of the balanced design; a proposal of the search; the
same as one before it on another seed, as the search asks for or to confirm it; or one with a choice
taken back."""
WHOLE: frozenset[Role] = frozenset({"baseline", "confirm", "ablation"})
"""Trials that are never stopped early."""
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
    warnings TEXT NOT NULL DEFAULT '[]',
    role TEXT,
    of INTEGER REFERENCES trials(number)
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
LATER = {
    "warnings": "TEXT NOT NULL DEFAULT '[]'",
    "role": "TEXT",
    "of": "INTEGER REFERENCES trials(number)",
}
"""Columns that ledgers lack which were begun before trials had these."""


class LedgerError(RuntimeError):
    """A ledger that cannot be used: held by another driver, or damaged."""


COLUMNS = "seq, trial, attempt, kind, step, value, decision, data, at"
RECENT = 64
"""Trials that have ended last, whose events stay in memory for those who are told of them."""
PAGE = 1000
"""Events read at a time."""


@dataclass(frozen=True, slots=True)
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


class Point(NamedTuple):
    """A measurement in short: after ``step`` images the score was ``value``, and the ``best`` so
    far was."""

    step: int
    value: float | None
    best: float | None


class Curve:
    """The measurements of a trial in short, in their order. They stay in memory of every trial, so
    they are bare numbers there, and points when they are asked for."""

    def __init__(self) -> None:
        self._numbers = array("d")

    def __len__(self) -> int:
        return len(self._numbers) // len(Point._fields)

    def __iter__(self) -> Iterator[Point]:
        numbers = iter(self._numbers)
        for step, value, best in zip(numbers, numbers, numbers, strict=True):
            yield Point(int(step), _known(value), _known(best))

    def append(self, point: Point) -> None:
        # All at once, since another thread may be reading.
        self._numbers.extend(array("d", [math.nan if x is None else x for x in point]))


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


class Record:
    """One trial as the ledger knows it: what it is, and what became of it.

    What is asked again and again is kept up with every event. What is long, its ``config`` and its
    ``events`` in order, leaves the memory some time after the trial has ended, and is read from
    the file when it is asked for.
    """

    def __init__(
        self,
        number: int,
        baseline: str | None,
        params: dict[str, Any],
        config: dict[str, Any],
        at: float,
        events: Iterable[Event] = (),
        warnings: Sequence[str] = (),
        role: Role | None = None,
        of: int | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.number, self.baseline, self.params, self.at = number, baseline, params, at
        self.warnings = list(warnings)
        self.role: Role = role or ("search" if baseline is None else "baseline")
        self.of = of
        """The trial of which this is another run, or which it takes a choice back from."""
        self.whole = whole or self.role in WHOLE
        """Whether the trial is trained to the end whatever its score, and nobody is judged against
        it: a baseline, another run of one, and all that comes after the search."""
        self.state: State = "pending"
        self.last: Event | None = None
        """The newest event."""
        self.attempts = 0
        self.losses: Counter[str] = Counter()
        """How often a worker was lost, by cause."""
        self.step = 0
        """Real images shown to D at the last measurement."""
        self.score: float | None = None
        """The best value measured so far."""
        self.best_step: int | None = None
        """Real images shown to D when the best value was measured."""
        self.heldout: float | None = None
        """The value of the best checkpoint on held-out latents and references, once it is known."""
        self.metrics: dict[str, float | None] = {}
        """What else was measured of it then, by name."""
        self.full_protocol: str | None = None
        """The hash of the protocol that both came about by."""
        self.seconds = 0.0
        """What the trial took so far, in seconds of its worker."""
        self.rate: float | None = None
        """Images per second at the last measurement."""
        self.warned = False
        """Whether a diagnostic warns at the last measurement."""
        self.curve = Curve()
        self._config: dict[str, Any] | None = config
        self._events: list[Event] | None = []
        self._file: Ledger | None = None
        for event in events:
            self.add(event)

    @property
    def config(self) -> dict[str, Any]:
        config = self._config  # held, since another thread may let go of it
        if config is not None:
            return config
        assert self._file is not None
        return self._file.config(self.number)

    @property
    def events(self) -> Sequence[Event]:
        events = self._events
        if events is not None:
            return events
        assert self._file is not None
        return self._file.events_of(self.number)

    def add(self, event: Event) -> None:
        """Take in what happened."""
        assert self._events is not None, "a trial that has ended stays as it ended"
        self._events.append(event)
        self.last = event
        match event.kind:
            case "started":
                self.state, self.attempts = "running", self.attempts + 1
            case "measured":
                self.state = "running"
                self._measured(event)
            case "ended":
                self.state = event.decision  # type: ignore[assignment]
            case "lost":
                self.state = "pending"
                self.losses[event.data.get("cause", "worker")] += 1

    def _measured(self, event: Event) -> None:
        value, data = event.value, event.data
        self.curve.append(Point(event.step, value, data.get("best")))
        self.step = max(self.step, event.step)
        if value is not None and (self.score is None or value < self.score):
            self.score, self.best_step = value, event.step
        if data.get("heldout") is not None:
            self.heldout, self.full_protocol = data["heldout"], data.get("full_protocol")
            self.metrics = data.get("metrics", {})
        self.seconds = max(self.seconds, data.get("seconds", 0.0))
        self.rate = data.get("images_per_second")
        self.warned = any(v["level"] == "warn" for v in event.verdicts)

    def leave_to(self, file: Ledger) -> None:
        """Keep in memory what is short of a trial that has ended, and no more."""
        assert self.ended
        self._file = file
        self._config = self._events = None

    @property
    def name(self) -> str:
        return f"t{self.number:03d}"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def lost(self) -> int:
        """How often a worker was lost under the trial."""
        return self.losses.total()

    @property
    def measured(self) -> list[Event]:
        return [event for event in self.events if event.kind == "measured"]

    def fresh(self, event: Event) -> list[dict[str, Any]]:
        """The verdicts of a measurement that the one before did not come to."""
        if not event.verdicts:
            return []
        earlier = [e for e in self.measured if e.seq < event.seq]
        known = {(v["name"], v["level"]) for v in earlier[-1].verdicts} if earlier else set()
        return [v for v in event.verdicts if (v["name"], v["level"]) not in known]

    @property
    def reason(self) -> str | None:
        return self.last.data.get("reason") if self.last is not None and self.ended else None

    @property
    def converged(self) -> bool:
        """Whether a trial was stopped since its score fell no more."""
        return self.ended and self.last is not None and bool(self.last.data.get("converged"))

    @property
    def cause(self) -> str | None:
        """What broke a trial, or took the worker of one that waits: ``worker``, ``node``,
        ``exception``, ``oom``, ``storage``, ``timeout``, ``nan`` or ``diagnosis``. None of a trial
        that goes well."""
        if self.last is None or self.last.kind not in ("ended", "lost"):
            return None
        if named := self.last.data.get("cause"):
            return str(named)
        # Ledgers have not always said it.
        if self.state == "failed":
            return "exception" if "traceback" in self.last.data else "worker"
        return {"pending": "worker", "diverged": "nan", "diagnosed": "diagnosis"}.get(self.state)


class Ledger:
    """Opens, or makes, the ledger of a results folder for its one driver.

    Every method commits before it returns. Raises LedgerError when another driver holds the folder,
    or when the file is not a sound ledger.
    """

    def __init__(self, folder: Path, *, write: bool = True) -> None:
        self.path = folder / "ledger.sqlite"
        self._lock = _hold(folder / "ledger.lock") if write else None
        self._guard = threading.RLock()
        self._records: dict[int, Record] = {}
        self._unended: set[int] = set()
        self._ends: list[int] = []
        self.newest: Event | None = None
        self._recent: deque[Record] = deque()
        try:
            self._db = sqlite3.connect(
                self.path if write else f"file:{self.path}?mode=ro",
                uri=not write,
                isolation_level=None,
                check_same_thread=False,
                timeout=30,
            )
            if write:
                self._sound()
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(SCHEMA)
                for name in LATER.keys() - self._columns():
                    self._db.execute(f"ALTER TABLE trials ADD COLUMN {name} {LATER[name]}")
            with self._snapshot():
                self._read()
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
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

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> Record:
        return self._records[number]

    @property
    def records(self) -> list[Record]:
        """Every trial, by number."""
        with self._guard:
            return list(self._records.values())

    @property
    def unended(self) -> list[Record]:
        """The trials that have not ended, by number."""
        with self._guard:
            return [self._records[number] for number in sorted(self._unended)]

    def ends(self, first: int = 0) -> list[Record]:
        """The trials that have ended, in the order in which they did, but for so many of the
        first."""
        with self._guard:
            return [self._records[number] for number in self._ends[first:]]

    @property
    def events(self) -> list[Event]:
        """Every event, in the order in which they were committed."""
        return list(self.history())

    @property
    def began(self) -> float:
        """When the first event was committed; now, before there is one."""
        with self._guard:
            first = self._db.execute("SELECT at FROM events ORDER BY seq LIMIT 1").fetchone()
        return float(first[0]) if first else time.time()

    @property
    def length(self) -> int:
        """How many events there are."""
        with self._guard:
            return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def history(self) -> Iterator[Event]:
        """Every event, in the order in which they were committed, a page in memory at a time."""
        page, seq = f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT {PAGE}", 0
        while True:
            with self._guard:
                rows = self._db.execute(page, (seq,)).fetchall()
            if not rows:
                return
            seq = rows[-1][0]
            yield from map(_event, rows)

    def news(self) -> list[Event]:
        """Of a ledger that is only read, what a driver has committed since: takes in the trials and
        the events that are new, and returns these in their order."""
        with self._guard, self._snapshot():
            for record in self._trials(len(self._records)):
                self._records[record.number] = record
                self._unended.add(record.number)
            since = self.newest.seq if self.newest is not None else 0
            query = f"SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq"
            events = [_event(row) for row in self._db.execute(query, (since,))]
            for event in events:
                record = self._records[event.trial]
                record.add(event)
                if record.ended:
                    self._close(record)
                self.newest = event
            return events

    def events_of(self, number: int) -> list[Event]:
        """The events of a trial, as the file has them."""
        query = f"SELECT {COLUMNS} FROM events WHERE trial = ? ORDER BY seq"
        with self._guard:
            return [_event(row) for row in self._db.execute(query, (number,))]

    def config(self, number: int) -> dict[str, Any]:
        """The configuration of a trial, as the file has it."""
        query = "SELECT config FROM trials WHERE number = ?"
        with self._guard:
            (text,) = self._db.execute(query, (number,)).fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def add_trial(
        self,
        params: Mapping[str, Any],
        config: Mapping[str, Any],
        baseline: str | None = None,
        warnings: Sequence[str] = (),
        role: Role | None = None,
        of: int | None = None,
    ) -> Record:
        """Commit to running a trial: from here on it is never proposed again, and never lost.

        ``warnings`` say what in its composition has been found to go badly together; ``role`` why
        it is run, and ``of`` which trial it is run for.
        """
        with self._guard:
            record = Record(
                len(self._records),
                baseline,
                dict(params),
                dict(config),
                time.time(),
                warnings=list(warnings),
                role=role,
                of=of,
                whole=self._again(role, of),
            )
            self._db.execute(
                "INSERT INTO trials(number, baseline, params, config, at, warnings, role, of) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.number,
                    baseline,
                    json.dumps(record.params),
                    json.dumps(record.config),
                    record.at,
                    json.dumps(record.warnings),
                    record.role,
                    of,
                ),
            )
            self._records[record.number] = record
            self._unended.add(record.number)
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
                assert record.last is not None
                return record.last
            data["reason"] = reason
            event = self._append(
                trial, record.attempts, "ended", record.step, record.score, state, data
            )
            self._close(record)
            return event

    def lost(self, trial: int, reason: str, cause: str = "worker") -> Event:
        """The worker of an attempt is gone, and the trial waits to be tried again. ``cause`` is a
        word for what took it, as in ``Record.cause``."""
        with self._guard:
            data = {"reason": reason, "cause": cause}
            return self._append(trial, self[trial].attempts, "lost", self[trial].step, data=data)

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

    def _sound(self) -> None:
        """Look at every page, since one that is not read now would be missed later. Raises
        DatabaseError."""
        (found,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(found.split()))
        empty = not self._db.execute("SELECT 1 FROM sqlite_master").fetchone()
        if empty and any(self.path.parent.glob("trials/*")):
            raise sqlite3.DatabaseError("it is empty, and trials were run here")

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
        at, kept = time.time(), hidden(data or {})
        cursor = self._db.execute(
            "INSERT INTO events(trial, attempt, kind, step, value, decision, data, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (trial, attempt, kind, step, value, decision, json.dumps(kept), at),
        )
        seq = cursor.lastrowid
        assert seq is not None
        event = Event(seq, trial, attempt, kind, step, value, decision, kept, at)
        self._records[trial].add(event)
        self.newest = event
        return event

    def _close(self, record: Record) -> None:
        """A trial has ended. Whoever only reads holds the file for a moment, and keeps it all."""
        self._unended.discard(record.number)
        self._ends.append(record.number)
        if self._lock is None:
            return
        self._recent.append(record)
        if len(self._recent) > RECENT:
            self._recent.popleft().leave_to(self)

    def _columns(self) -> set[str]:
        return {row[1] for row in self._db.execute("PRAGMA table_info(trials)")}

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """What is read in here is of one moment, whatever a driver commits meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def _trials(self, first: int = 0) -> Iterator[Record]:
        """The trials of the file from a number on, as if nothing had happened to them."""
        there = self._columns()
        later = ", ".join(name if name in there else f"NULL AS {name}" for name in LATER)
        columns = f"number, baseline, params, config, at, {later}"
        query = f"SELECT {columns} FROM trials WHERE number >= ? ORDER BY number"
        for number, baseline, params, config, at, warnings, role, of in self._db.execute(
            query, (first,)
        ):
            yield Record(
                number,
                baseline,
                json.loads(params),
                json.loads(config),
                at,
                warnings=json.loads(warnings or "[]"),
                role=role,
                of=of,
                whole=self._again(role, of),
            )

    def _again(self, role: Role | None, of: int | None) -> bool:
        """Whether a trial is another run of one that is trained to the end."""
        return role == "repeat" and of is not None and self._records[of].whole

    def _read(self) -> None:
        """Read all trials, with no more of them in memory at a time than needs to be."""
        for record in self._trials():
            for event in self.events_of(record.number):
                record.add(event)
            self._records[record.number] = record
            self._unended.add(record.number)
            if record.ended:
                self._close(record)
        last = {r.number: r.last for r in self._records.values() if r.last is not None}
        self._ends.sort(key=lambda number: last[number].seq)
        self.newest = max(last.values(), key=lambda event: event.seq, default=None)


def _event(row: Sequence[Any]) -> Event:
    seq, trial, attempt, kind, step, value, decision, data, at = row
    return Event(seq, trial, attempt, kind, step, value, decision, json.loads(data), at)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep drivers out of a results folder for a while. Raises LedgerError when one has it."""
    handle = _hold(folder / "ledger.lock")
    try:
        yield
    finally:
        os.close(handle)


def _hold(path: Path) -> int:
    """Take the lock of a results folder, or say who has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        who = _written(handle)
        os.close(handle)
        law = "one driver runs a sweep at a time"
        raise LedgerError(f"{law}, but {path.parent} is held by {who}") from None
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return handle


def holder(folder: Path) -> str | None:
    """Who drives the sweep of a results folder: a process and its host. None if nobody does."""
    try:
        handle = os.open(folder / "ledger.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _written(handle)
    finally:
        os.close(handle)
    return None


def _written(handle: int) -> str:
    return os.read(handle, 300).decode(errors="replace").strip() or "another process"
