"""A driver's side of a storage: the ledger is copied to it as it grows, so that a lost head costs
nothing that was finished; and what is lost here is restored from it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sweeper.catalog.metrics.features import classifier_path
from sweeper.ledger.ledger import Event, held
from sweeper.ledger.links import check_links
from sweeper.registry import nearest
from sweeper.space.brought import put_here
from sweeper.space.source import InputError
from sweeper.sweep import earlier
from sweeper.sweep.mirror import (
    CACHE,
    CHECKPOINTS,
    NEEDS,
    Needs,
    caches,
    fetch_cache,
    fetch_trial,
    trial_name,
    with_data,
)
from sweeper.sweep.plan import Plan
from sweeper.sweep.storage import Stamp, Storage, StorageError, checked, inside, stamp_of

log = logging.getLogger("sweeper")

DRAFT = ".ledger-copy.sqlite"
LEDGERS = "ledger"
"""Where a sweep has the copies of its ledger, named by their last event and a hash of their
bytes."""
KEEP = 2
DRIVER, STOP = "driver.json", "stop"
DESCRIBING = ("sweep.json", "resolved.yaml", "space.yaml", earlier.FILE)
PAUSE = 2.0
"""Seconds between two copies, at least."""
SHARE = 20
"""Between two copies pass so many times the duration of one, so that a long ledger costs little."""
LOOK = 3.0
"""Seconds between two looks for an order to stop."""
BEAT = 15.0
"""Seconds between two signs of a driver's life."""
LEASE = 60.0
"""Seconds after its last sign that a driver on another host is taken for dead."""
LAST = 30.0
"""Seconds that a storage which does not answer is waited for at the end."""


class Copy(Protocol):
    """What keeps a sweep's storage up to date, if it has one."""

    def observe(self, event: Event) -> None: ...

    def finish(self, best: Collection[int], *, complete: bool) -> None:
        """Bring the sample sheets, and the checkpoints of the best trials. Of a complete sweep
        forget the checkpoints of the others."""


class NoCopy:
    """A sweep whose results folder is all that there is."""

    def observe(self, event: Event) -> None:
        """Copy nothing."""

    def finish(self, best: Collection[int], *, complete: bool) -> None:
        """Bring nothing."""


@dataclass
class LedgerCopy:
    """One thread on the driver that mirrors the sweep to its storage, and never delays it.

    An outage is told of once; what the storage lacks is sent when it answers again. ``stop`` is
    called when somebody left an order to stop there, or another driver has taken over.
    """

    storage: Storage
    folder: Path
    stop: Callable[[], object]
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    known: dict[str, Stamp] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._wake, self._closing = threading.Event(), threading.Event()
        self._fresh: set[int] = set()
        self._working = threading.Lock()
        self._copied, self._beaten = "", 0.0
        self._down = self._superseded = False
        self._thread = threading.Thread(target=self._run, name="ledger copy", daemon=True)

    def observe(self, event: Event) -> None:
        self._fresh.add(event.trial)
        self._wake.set()

    def start(self) -> None:
        """Say that we drive the sweep, and put up what it is. Raises StorageError if another driver
        does, or the storage cannot be used."""
        claim(self.storage, self.folder, self.token)
        self._beaten = time.monotonic()
        self.storage.remove([STOP])
        self._files()
        self._wake.set()
        self._thread.start()

    def finish(self, best: Collection[int], *, complete: bool) -> None:
        with self._outage(), self._alone():
            self._sheets()
            for number in sorted(best):
                fetch_trial(self._trial(number), self._here(number))
            if complete:
                self._forget(best)

    def close(self) -> None:
        """Copy what is new for the last time. A storage that does not answer is given up after some
        time: resume sends what it lacks."""
        self._closing.set()
        self._wake.set()
        self._thread.join(LAST)
        if not self._superseded and (self._thread.is_alive() or self._down):
            log.warning("%s lacks what came last; sweeper resume sends it", self.storage)

    def _run(self) -> None:
        """Copy whenever something happened; look for orders and give a sign of life always."""
        while not self._closing.is_set():
            self._wake.wait(LOOK)
            start = time.monotonic()
            self._turn()
            took = time.monotonic() - start
            self._closing.wait(PAUSE if self._down else max(PAUSE, SHARE * took))
        if not self._superseded and self._turn():
            with self._outage():
                self.storage.remove([DRIVER])

    def _turn(self) -> bool:
        """One round of copying; whether it worked."""
        woken, done = self._wake.is_set(), False
        self._wake.clear()
        with self._outage(), self._alone():
            self._look()
            if woken and not self._superseded:
                self._copy()
                self._files()
                self._sheets()
            done = True
        if not done:
            self._wake.set()  # to try again
        return done

    def _look(self) -> None:
        if STOP in self.storage.files(deep=False) and not self._closing.is_set():
            self.storage.remove([STOP])
            self.stop()
        if time.monotonic() - self._beaten < BEAT:
            return
        driver = holder(self.storage)
        if driver and driver["token"] != self.token:
            log.warning("the sweep is driven by %s now, and this driver stops", driver["holder"])
            self._superseded = True
            self._closing.set()
            self.stop()
        else:
            sign(self.storage, self.folder, self.token)
            self._beaten = time.monotonic()

    def _copy(self) -> None:
        draft = self.folder / DRAFT
        try:
            name = snapshot(self.folder / "ledger.sqlite", draft)
            if name != self._copied:
                self.storage.put(draft, f"{LEDGERS}/{name}")
                self._copied = name
                older = sorted(set(self.storage.files(LEDGERS)) - {name}, reverse=True)
                self.storage.remove(f"{LEDGERS}/{old}" for old in older[KEEP - 1 :])
        finally:
            draft.unlink(missing_ok=True)

    def _files(self) -> None:
        """Put up what says what the sweep is, where it is new."""
        for path in (*(self.folder / name for name in DESCRIBING), *self.folder.glob("use/*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and self.known.get(name) != (stamp := stamp_of(path)):
                self.storage.put(inside(self.folder, path), name)
                self.known[name] = stamp

    def _sheets(self) -> None:
        for number in sorted(self._fresh):
            self._fresh.discard(number)
            try:
                fetch_trial(self._trial(number), self._here(number), is_sheet)
            except StorageError:
                self._fresh.add(number)
                raise

    def _forget(self, best: Collection[int]) -> None:
        """Remove the checkpoints of all but the best trials."""
        for name in self.storage.files("trials"):
            number, _, rest = name.partition("/")
            if rest.partition("/")[2].startswith(CHECKPOINTS) and int(number) not in best:
                self.storage.remove([f"trials/{name}"])

    def _trial(self, number: int) -> Storage:
        return self.storage.under(trial_name(number))

    def _here(self, number: int) -> Path:
        return self.folder / trial_name(number)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only thread that talks to the storage."""
        if not self._working.acquire(timeout=LAST):
            raise StorageError(
                f"a storage answers within {LAST:.0f} s, but {self.storage} does not"
            )
        try:
            yield
        finally:
            self._working.release()

    @contextlib.contextmanager
    def _outage(self) -> Iterator[None]:
        """Go on without the storage, and say so once."""
        try:
            yield
            self._down = False
        except (StorageError, sqlite3.Error, OSError) as error:
            if not self._down:
                log.warning("the sweep goes on, and its copy waits: %s", error)
            self._down = True


def is_sheet(name: str) -> bool:
    """Whether a trial's file is a sheet of samples."""
    return name.startswith("samples/")


@contextlib.contextmanager
def copying(plan: Plan, uri: str | None, stop: Callable[[], object]) -> Iterator[Copy]:
    """Keep a sweep's storage up to date, if it has one; ``stop`` is how the sweep is told to stop.
    Raises StorageError when it cannot be used, or another driver has the sweep."""
    if uri is None:
        yield NoCopy()
        return
    base = Storage(uri)
    put_cache(base, plan)
    copy = LedgerCopy(base.under(plan.id), plan.folder, stop)
    copy.start()
    try:
        yield copy
    finally:
        copy.close()


def put_cache(base: Storage, plan: Plan) -> None:
    """Put up what the workers need of the driver's cache, unless it is there; and say what that
    is. Raises StorageError."""
    storage, path = base.under(CACHE), plan.store.path
    inside = path.is_relative_to(plan.cache)
    digest = plan.store.meta.digest[:12]
    data = f"data/{path.name}" if inside else f"data/{plan.store.meta.name}-{digest}"
    there = storage.files()
    for file in ("data.mdb", "meta.json"):
        # The description comes after what it describes: with it, the data is there.
        if f"{data}/meta.json" not in there:
            storage.put(path / file, f"{data}/{file}")
    hashes = (plan.protocol.hash, plan.full_protocol.hash, f"{plan.full_protocol.hash}-features")
    names = [f"references/{name}.pt" for name in hashes]
    files = [name for name in names if (plan.cache / name).is_file()]
    if plan.protocol.features == "classifier":
        made = classifier_path(plan.store, plan.cache / "features")
        files.append(made.relative_to(plan.cache).as_posix())
    for name in files:
        if name not in there:
            storage.put(plan.cache / name, name)
    needs = Needs(data, files).plain()
    base.under(plan.id).write(NEEDS, json.dumps(needs).encode())


def snapshot(ledger: Path, draft: Path) -> str:
    """A consistent copy of a ledger that may be written meanwhile; the name that it is stored by.
    Raises sqlite3.Error and OSError."""
    draft.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(draft)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
        last = last_event(target)
    return f"{last[0] if last else 0:012d}-{digest_of(draft)}.sqlite"


def digest_of(path: Path) -> str:
    """A hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


Last = tuple[int, int, str, float]


def last_event(database: sqlite3.Connection) -> Last | None:
    """The last event of a ledger, which tells it from others."""
    query = "SELECT seq, trial, kind, at FROM events ORDER BY seq DESC LIMIT 1"
    found: Last | None = database.execute(query).fetchone()
    return found


def fetch_ledger(storage: Storage, path: Path) -> bool:
    """Bring the newest sound copy of a sweep's ledger; whether there is one. Raises StorageError
    when there are copies, and none of them is whole."""
    names = sorted(storage.files(LEDGERS), reverse=True)
    for name in names:
        with contextlib.suppress(StorageError):  # a newer one may just have taken its place
            storage.get(f"{LEDGERS}/{name}", path)
            if name.endswith(f"-{digest_of(path)}.sqlite"):
                return True
    path.unlink(missing_ok=True)
    if names:
        law = "a ledger is copied whole, and the copy before is kept"
        raise StorageError(f"{law}, but no copy in {storage}/{LEDGERS} is whole")
    return False


@dataclass(frozen=True)
class Stored:
    """A sweep in a storage, as it describes itself."""

    id: str
    name: str
    created: float
    place: Storage

    def __str__(self) -> str:
        began = datetime.fromtimestamp(self.created, UTC).isoformat(" ", "minutes")[:16]
        return f"{self.name} (id {self.id}, begun {began} UTC)"


def stored(base: Storage) -> list[Stored]:
    """The sweeps in a storage, the newest first. Raises StorageError."""
    found = []
    for id in base.folders():
        place = base.under(id)
        if id != CACHE and "sweep.json" in place.files(deep=False):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                plain = json.loads(place.read("sweep.json"))
                found.append(Stored(id, str(plain["name"]), float(plain["created"]), place))
    return sorted(found, key=lambda sweep: -sweep.created)


def find(base: Storage, wanted: str) -> Stored:
    """The sweep of a name or an id. Raises StorageError with those that there are."""
    sweeps = stored(base)
    fitting = [s for s in sweeps if s.id == wanted] or [s for s in sweeps if s.name == wanted]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        law = f"a sweep is named by its id where several have its name, but got {wanted}"
        raise StorageError("\n  ".join([f"{law}, which is that of:", *map(str, fitting)]))
    if not sweeps:
        raise StorageError(f"a sweep is in its storage, but there is none in {base}")
    close = nearest(wanted, [s.name for s in sweeps])
    hint = f"; did you mean {close!r}?" if close else ""
    law = f"a sweep is in its storage, but {base} has none named {wanted!r}{hint}"
    raise StorageError("\n  ".join([f"{law} There are:", *map(str, sweeps)]))


def recover(folder: Path, uri: str | None, say: Callable[[str], None]) -> tuple[Path, str | None]:
    """Before a sweep goes on: take over what its storage has and its folder has not. Returns the
    folder and the storage, which is the one given or the one it began with. Raises StorageError,
    LedgerError for a folder that leads out of itself, and InputError for one that names a storage
    and was brought from elsewhere."""
    if not folder.exists() and folder.name == str(folder):
        folder = Path("results") / folder
    if folder.is_dir():
        check_links(folder)  # before anything is written there
    known = described(folder)
    uri = uri or own_storage(folder)
    if uri is None:
        refuse_foreign(folder, "--storage")
        return folder, None
    base = Storage(uri)
    id = known.get("id")
    if id is not None and id not in base.folders():
        return folder, base.uri  # it has not been there yet
    place = base.under(id) if id is not None else find(base, folder.name).place
    if restore(place, folder):
        say(f"{folder} is restored from {place}")
        if NEEDS in place.files(deep=False):
            needs, cache = Needs.read(place), folder.resolve().parent / CACHE
            fetch_cache(caches(place), cache, needs)
            read_packed(folder / "resolved.yaml", cache / needs.data)
    return folder, base.uri


def read_packed(resolved: Path, packed: Path) -> None:
    """Have a space read its data packed, if what it was packed from was on the lost head alone."""
    yaml = YAML(typ="safe")
    try:
        tree = yaml.load(resolved.read_text(encoding="utf-8"))
        trial = with_data(tree["trial"], packed)
    except (OSError, ValueError, YAMLError, KeyError, TypeError, AttributeError):
        return  # whoever reads the space says what is wrong with it
    if trial != tree["trial"]:
        draft = resolved.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            yaml.dump({**tree, "trial": trial}, file)
        draft.replace(resolved)


def described(folder: Path) -> dict[str, Any]:
    """What a results folder says of its sweep; nothing if it is not there, or no such folder."""
    try:
        plain = json.loads((folder / "sweep.json").read_text())
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}


def own_storage(folder: Path) -> str | None:
    """The storage that a results folder names, if a sweep on this machine wrote that down: nobody
    else decides whom this machine talks to."""
    return described(folder).get("storage") if put_here(folder / "sweep.json") else None


def refuse_foreign(folder: Path, option: str) -> None:
    """Raise InputError if a results folder from elsewhere names a storage, with the ``option`` that
    accepts it."""
    named = described(folder).get("storage")
    if named is not None and own_storage(folder) is None:
        law = f"its sweep.json, which was brought from elsewhere, names a storage: {named}"
        raise InputError([f"{folder}: {law}; if you trust it, add {option} {named}"])


def restore(storage: Storage, folder: Path) -> bool:
    """Take over what a storage has of a sweep, if the ledger here is missing, or lacks what the
    copy has; whether it did. What it takes the place of is set aside.

    Raises LedgerError when a driver holds the folder, and StorageError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        draft, ledger = folder / DRAFT, folder / "ledger.sqlite"
        try:
            if not fetch_ledger(storage, draft) or holds(ledger, draft):
                return False
            fetch_description(storage, folder)
            set_aside(ledger)
            draft.replace(ledger)
        finally:
            draft.unlink(missing_ok=True)
    return True


def fetch_description(storage: Storage, folder: Path) -> int:
    """Bring what says what a sweep is. Returns how many files were new. Raises StorageError."""
    there = [name for name in storage.files(deep=False) if name in DESCRIBING]
    brought = 0
    for name in [*there, *(f"use/{name}" for name in storage.files("use"))]:
        path = inside(folder, folder / checked(name))
        if not path.is_file() or path.read_bytes() != storage.read(name):
            storage.get(name, path)
            brought += 1
    return brought


def holds(ledger: Path, copy: Path) -> bool:
    """Whether a ledger has all that a copy has."""
    if not ledger.is_file():
        return False
    with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as other:
        last = last_event(other)
    if last is None:
        return True
    query = "SELECT seq, trial, kind, at FROM events WHERE seq = ?"
    try:
        with contextlib.closing(sqlite3.connect(ledger)) as own:
            return bool(own.execute(query, (last[0],)).fetchone() == last)
    except sqlite3.DatabaseError:
        return False


def set_aside(ledger: Path) -> None:
    """Make room for another ledger. Its journal goes along, or it would be taken for the new
    one's."""
    free = next(n for n in count(1) if not ledger.with_name(f"ledger.{n}.old").exists())
    for ending in ("-wal", "-shm", ""):
        path = ledger.with_name(ledger.name + ending)
        if path.exists():
            path.rename(ledger.with_name(f"ledger.{free}.old{ending}"))


def holder(storage: Storage) -> dict[str, Any] | None:
    """Who says that it drives a sweep. Raises StorageError."""
    if DRIVER not in storage.files(deep=False):
        return None
    try:
        plain = json.loads(storage.read(DRIVER))
        return {key: str(plain[key]) for key in ("holder", "host", "folder", "token")}
    except (ValueError, KeyError, TypeError):
        return None


def sign(storage: Storage, folder: Path, token: str) -> None:
    """Say that this process drives the sweep."""
    host = socket.gethostname()
    who = {"holder": f"{host}, process {os.getpid()}", "host": host, "folder": str(folder)}
    storage.write(DRIVER, json.dumps(who | {"token": token}).encode())


def claim(storage: Storage, folder: Path, token: str) -> None:
    """Take a sweep for this driver, which holds its folder. Raises StorageError when a driver
    elsewhere gave a sign of life a moment ago."""
    driver = holder(storage)
    same = driver and (driver["host"], driver["folder"]) == (socket.gethostname(), str(folder))
    if driver and not same:
        # By the storage's own clock, since those of two hosts differ.
        probe = f"clock-{token}"
        storage.write(probe, b"")
        stamps = storage.files(deep=False)
        storage.remove([probe])
        silent = (stamps[probe].changed - stamps[DRIVER].changed) / 1e9
        if silent < LEASE:
            law = "one driver runs a sweep at a time"
            told = (
                f"its last sign was {silent:.0f} s ago, and after {LEASE:.0f} s it counts as dead"
            )
            raise StorageError(f"{law}, but {storage} is held by {driver['holder']}: {told}")
    sign(storage, folder, token)
