"""A worker's side of a storage: a trial's folder is fetched before it begins, and mirrored before
every report.

In a storage, a sweep lies under its id. Each attempt at a trial writes to a place of its own,
``trials/00003/2-c0ffee00/`` (its number, and a word for the driver that counted it), so that
nothing that an older attempt still does can touch its successor's files; whoever reads takes each
file from the newest attempt that has it. What is needed of a cache lies beside the sweeps, under
``.cache``, by names that tell what is in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.sweep.storage import Stamp, Storage, StorageError, checked, inside, stamp_of

if TYPE_CHECKING:
    from sweeper.sweep.executor import Job

log = logging.getLogger("sweeper")

CACHE = ".cache"
NEEDS = "needs.json"
CHECKPOINTS = "checkpoints/"
BEGUN = "begun"
"""A file of an attempt that is written when it begins, and never again."""
OUTAGE_SHARE = 10
"""After a push that failed, this many times its duration passes before the next one."""

Work = Callable[["Job"], Iterator[dict[str, Any]]]


@dataclass(frozen=True)
class Needs:
    """What a trial reads of a cache: the packed data, and files. Names are from the cache on."""

    data: str
    files: Sequence[str]

    def plain(self) -> dict[str, Any]:
        return {"data": self.data, "files": list(self.files)}

    @classmethod
    def read(cls, storage: Storage) -> Needs:
        """What the driver of a sweep said is needed. Raises StorageError."""
        try:
            plain = json.loads(storage.read(NEEDS))
            return cls(str(plain["data"]), [str(name) for name in plain["files"]])
        except (ValueError, KeyError, TypeError):
            law = "what a sweep's driver puts into a storage is as it wrote it"
            raise StorageError(f"{law}, but {storage}/{NEEDS} is not") from None


def place_of(uri: str, sweep: str) -> str:
    """Where a sweep lies in a storage: what a job is told."""
    return str(Storage(uri).under(sweep))


def caches(storage: Storage) -> Storage:
    """The cache beside a sweep."""
    uri, mark, how = storage.uri.partition("?")
    return Storage(uri.rpartition("/")[0] + mark + how).under(CACHE)


def trial_name(number: int) -> str:
    """Where a sweep has a trial."""
    return f"trials/{number:05d}"


def mirrored(work: Work) -> Work:
    """Have what a worker writes outlive its node: where a job names a storage, its trial's folder
    is fetched before and mirrored before every report."""

    @functools.wraps(work)
    def wrapped(job: Job) -> Iterator[dict[str, Any]]:
        if job.storage is None:
            yield from work(job)
            return
        try:
            storage = Storage(job.storage)
            needs = Needs.read(storage)
            fetch_cache(caches(storage), Path(job.cache), needs)
            trial = storage.under(trial_name(job.number))
            mirror = Mirror(trial, Path(job.folder), f"{job.attempt}-{job.driver}")
            mirror.fetch()
        except StorageError as error:
            told = {"kind": "failed", "cause": "storage", "reason": str(error)}
            yield told | {"traceback": traceback.format_exc()}
            return
        for report in work(replace(job, trial=with_data(job.trial, Path(job.cache) / needs.data))):
            mirror.push()
            yield report

    return wrapped


def with_data(trial: Mapping[str, Any], packed: Path) -> dict[str, Any]:
    """The trial, on packed data if what it was packed from is somewhere else."""
    knobs = next(iter(trial["data"].values()))
    path = knobs.get("path", knobs.get("root"))
    if path is None or os.path.exists(path) or not (packed / "meta.json").is_file():
        return dict(trial)
    return {**trial, "data": {"packed": {"path": str(packed)}}}


def stored_data(folder: Path) -> str:
    """Where the packed data of a results folder lies, from the folder of all results on."""
    try:
        return str(json.loads((folder / "sweep.json").read_text())["data"]["store"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{CACHE}/data"


def fetch_cache(storage: Storage, cache: Path, needs: Needs) -> int:
    """Have what is needed in this node's cache: fetched by one process, while the others wait.
    Returns how many files were fetched. Raises StorageError."""
    # The description comes after what it describes: with it, the data is there.
    wanted = [f"{needs.data}/data.mdb", f"{needs.data}/meta.json", *needs.files]
    if all((cache / name).is_file() for name in wanted):
        return 0
    with _alone(cache / ".fetch.lock"):
        missing = [name for name in wanted if not (cache / name).is_file()]
        for name in missing:
            storage.get(name, inside(cache, cache / checked(name)))
    return len(missing)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Be the only process of this node that is here."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        law = "a node's cache can be written to"
        raise StorageError(f"{law}, but {lock.parent}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def attempts(files: Mapping[str, Stamp]) -> dict[str, dict[str, Stamp]]:
    """A trial's files, as they are listed, by attempt, the newest first: by number, and of one
    number, which two drivers may have given, by when it began."""
    found: dict[str, dict[str, Stamp]] = {}
    for name, stamp in files.items():
        attempt, _, rest = name.partition("/")
        if attempt.partition("-")[0].isdigit() and rest:
            found.setdefault(attempt, {})[rest] = stamp

    def age(attempt: str) -> tuple[int, int]:
        begun = found[attempt].pop(BEGUN, Stamp(0, 0))
        return int(attempt.partition("-")[0]), begun.changed

    return {attempt: found[attempt] for attempt in sorted(found, key=age, reverse=True)}


def newest(found: Mapping[str, Mapping[str, Stamp]]) -> dict[str, tuple[str, Stamp]]:
    """Each of a trial's files, with the newest of its attempts that has it.

    Of an older attempt only those checkpoints count that its successor was not yet past: later
    ones are the work of somebody cut off.
    """
    merged: dict[str, tuple[str, Stamp]] = {}
    for attempt, files in found.items():
        last = max((name for name in merged if name.startswith(CHECKPOINTS)), default="")
        for name, stamp in files.items():
            late = name.startswith(CHECKPOINTS) and last and name > last
            if name not in merged and not late:
                merged[name] = (attempt, stamp)
    return merged


def fetch_trial(
    storage: Storage, folder: Path, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, dict[str, Stamp]]:
    """Bring a trial's files to a folder, where it has not got them. Returns what there is, by
    attempt. Raises StorageError."""
    found = attempts(storage.files())
    fetch_files(storage, found, folder, wanted)
    return found


def fetch_files(
    storage: Storage,
    found: Mapping[str, Mapping[str, Stamp]],
    folder: Path,
    wanted: Callable[[str], bool],
) -> list[str]:
    """Bring those of a trial's files that the folder has not got, from their newest attempts.
    Returns their names. Raises StorageError."""
    brought = []
    for name, (attempt, stamp) in sorted(newest(found).items()):
        path = inside(folder, folder / checked(name))
        if wanted(name) and not (path.is_file() and path.stat().st_size == stamp.size):
            try:
                storage.get(f"{attempt}/{name}", path)
            except StorageError:
                # Whoever trains the trial may have pruned it since it was listed.
                if f"{attempt}/{name}" in storage.files():
                    raise
            else:
                brought.append(name)
    return brought


@dataclass
class Mirror:
    """A trial's folder on this node, and what the storage has of it under an attempt of its own."""

    storage: Storage
    folder: Path
    attempt: str
    known: dict[str, Stamp] = field(default_factory=dict)
    warned: bool = False
    again: float = 0.0

    def fetch(self) -> None:
        """Say that the attempt begins, and bring what earlier ones left. Raises StorageError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage.write(f"{self.attempt}/{BEGUN}", b"")
        for name in newest(fetch_trial(self.storage, self.folder)):
            with contextlib.suppress(FileNotFoundError):
                self.known[name] = stamp_of(self.folder / name)

    def push(self) -> None:
        """Send what is new. An outage of the storage is told of once and delays nothing: what it
        lacks is sent later."""
        start = time.monotonic()
        if start < self.again:
            return
        try:
            # What a checkpoint is shown with comes first: with it, that is there.
            self._send(lambda name: not name.startswith(("owner", CHECKPOINTS)))
            self._send(lambda name: name.startswith(CHECKPOINTS) and name.endswith(".pt"))
            self._prune()
            self.warned = False
        except StorageError as error:
            self.again = time.monotonic() + OUTAGE_SHARE * (time.monotonic() - start)
            if not self.warned:
                log.warning("the trial goes on without its storage: %s", error)
            self.warned = True

    def _send(self, wanted: Callable[[str], bool]) -> None:
        self.storage.push(self.folder, self.attempt, self.known, wanted)

    def _prune(self) -> None:
        """Forget the checkpoints of this attempt and of those before it that this folder forgot."""
        own = {f"{CHECKPOINTS}{path.name}" for path in (self.folder / CHECKPOINTS).glob("*.pt")}
        if not own:
            return
        found = attempts(self.storage.files())
        order = list(found)
        until_mine = order[order.index(self.attempt) :]
        self.storage.remove(
            f"{attempt}/{name}"
            for attempt in until_mine
            for name in found[attempt]
            if name.startswith(CHECKPOINTS) and name not in own
        )
