"""Bringing a sweep home: from a storage, or from the head of a cluster, into a results folder that
the report, the ranking, the pages and the generator read without either."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sweeper.ledger.ledger import Ledger, held
from sweeper.ledger.links import check_links
from sweeper.ledger.tables import write_tables
from sweeper.registry import nearest
from sweeper.space.brought import note
from sweeper.space.document import Confirm
from sweeper.space.source import InputError
from sweeper.sweep.drive import best
from sweeper.sweep.keeper import (
    described,
    digest_of,
    fetch_description,
    fetch_ledger,
    find,
    holds,
    own_storage,
    refuse_foreign,
    set_aside,
)
from sweeper.sweep.mirror import (
    CHECKPOINTS,
    NEEDS,
    Needs,
    attempts,
    caches,
    fetch_cache,
    fetch_files,
    trial_name,
)
from sweeper.sweep.storage import Stamp, Storage, checked, stamp_of
from sweeper.sweep.tracking import Tracker, default_uri
from sweeper.sweep.where import LAUNCHER, ClusterError, Here, Launched, brought_up

DRAFT = ".ledger-pulled.sqlite"
ON_HEAD = "~/results"
MLFLOW = 120.0
"""Seconds that MLflow's database may take to be told of what was brought."""

Say = Callable[[str], None]


class Source(Protocol):
    """Where a sweep is brought from."""

    def bring(self, name: str, out: Path) -> tuple[Path, int]:
        """Bring what is new of a sweep to its folder under ``out``. Returns the folder, and how
        many files were new."""


@dataclass(frozen=True)
class StorageSource:
    """A storage, which has sweeps by id."""

    base: Storage

    def bring(self, name: str, out: Path) -> tuple[Path, int]:
        """Bring the ledger, the sheets and logs of all trials, and checkpoints of the best. Raises
        StorageError and LedgerError."""
        sweep = find(self.base, name)
        folder = out / checked(sweep.name)
        with kept_for(folder, sweep.id):
            brought = fetch_description(sweep.place, folder)
            brought += self._ledger(sweep.place, folder) + self._trials(sweep.place, folder)
            if described(folder).get("storage") == self.base.uri:
                note(folder, ["sweep.json"])  # it names the storage that we were told of
            if NEEDS in sweep.place.files(deep=False):
                brought += fetch_cache(caches(sweep.place), out / ".cache", Needs.read(sweep.place))
        return folder, brought

    def _ledger(self, place: Storage, folder: Path) -> int:
        draft, ledger = folder / DRAFT, folder / "ledger.sqlite"
        try:
            if not fetch_ledger(place, draft) or holds(ledger, draft):
                return 0
            set_aside(ledger)
            draft.replace(ledger)
        finally:
            draft.unlink(missing_ok=True)
        return 1

    def _trials(self, place: Storage, folder: Path) -> int:
        with reading(folder) as ledger:
            chosen = best(ledger, Confirm(**described(folder).get("confirm", {})))
        of_trial: dict[str, dict[str, Any]] = {}
        for name, stamp in place.files("trials").items():
            number, _, rest = name.partition("/")
            of_trial.setdefault(number, {})[rest] = stamp
        brought = 0
        for number, files in sorted(of_trial.items()):
            if number.isdigit():
                name, wanted = trial_name(int(number)), wanted_of(int(number) in chosen)
                found = attempts(files)
                brought += len(fetch_files(place.under(name), found, folder / name, wanted))
        return brought


def wanted_of(chosen: bool) -> Callable[[str], bool]:
    """What is brought of a trial: all of a chosen one, and of the others no checkpoints."""
    return lambda name: chosen or not name.startswith(CHECKPOINTS)


@dataclass(frozen=True)
class HeadSource:
    """The head of a cluster that was brought up from here, whose results are in its home."""

    launched: Launched

    def bring(self, name: str, out: Path) -> tuple[Path, int]:
        """Bring a sweep's folder as rsync does, and a consistent copy of its ledger. Raises
        ClusterError, and LedgerError."""
        name = checked(name)
        folder, remote = out / name, f"{ON_HEAD}/{name}"
        with tempfile.TemporaryDirectory(prefix="sweeper-") as there:
            self._plan(name, Path(there))
            plan = described(Path(there))
        with kept_for(folder, str(plan["id"])):
            before = stamps(folder)
            self.launched.told("exec", snapshot_command(name), timeout=600)
            self.launched.fetch(f"{remote}/", folder)
            take_over(folder)
            check_links(folder)
            brought = sum(before.get(path) != stamp for path, stamp in stamps(folder).items())
        store = str(plan.get("data", {}).get("store", ""))
        if store.startswith(".cache/") and not (out / checked(store) / "meta.json").is_file():
            (out / store).mkdir(parents=True, exist_ok=True)
            self.launched.fetch(f"{ON_HEAD}/{store}/", out / store)
        return folder, brought

    def _plan(self, name: str, into: Path) -> None:
        """What the head says of a sweep. Raises ClusterError with those that there are."""
        try:
            self.launched.fetch(f"{ON_HEAD}/{name}/sweep.json", into / "sweep.json")
            if "id" in described(into):
                return
        except ClusterError:
            pass
        list_them = f'for f in {ON_HEAD}/*/sweep.json; do echo "sweep: ${{f%/sweep.json}}"; done'
        said = self.launched.told("exec", list_them, timeout=120)
        lines = (line.strip() for line in said.splitlines())
        there = [line.rpartition("/")[2] for line in lines if line.startswith("sweep: /")]
        there = [one for one in there if one != "*"]
        close = nearest(name, there)
        hint = f"; did you mean {close!r}?" if close else ""
        law = f"a sweep is in {ON_HEAD} on its head, but there is no {name!r}{hint}"
        raise ClusterError(f"{law} there are: {', '.join(there) or 'none'}")


def snapshot_command(name: str) -> str:
    """What the head runs to make a copy of a ledger that may be written meanwhile."""
    code = (
        "import os, sqlite3; os.chdir(os.path.expanduser(os.sys.argv[1])); "
        f"path = {DRAFT!r}; os.path.exists(path) and os.remove(path); "
        "copy = sqlite3.connect(path); sqlite3.connect('ledger.sqlite').backup(copy); "
        "copy.execute('PRAGMA journal_mode=DELETE'); copy.close()"
    )
    return shlex.join(["python3", "-c", code, f"{ON_HEAD}/{name}"])


def take_over(folder: Path) -> None:
    """Have the consistent copy be the ledger: what was copied beside it may have been torn by its
    driver."""
    draft = folder / DRAFT
    if draft.is_file():
        for ending in ("-wal", "-shm"):
            (folder / f"ledger.sqlite{ending}").unlink(missing_ok=True)
        draft.replace(folder / "ledger.sqlite")


def stamps(folder: Path) -> dict[Path, Stamp | str]:
    """What tells whether a file of a folder is new. The ledger is copied each time, so it is its
    content."""
    found: dict[Path, Stamp | str] = {
        path: stamp_of(path)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("ledger.")
    }
    ledger = folder / "ledger.sqlite"
    return found | ({ledger: digest_of(ledger)} if ledger.is_file() else {})


@contextlib.contextmanager
def kept_for(folder: Path, id: str) -> Iterator[None]:
    """Have a results folder for what is brought, while no driver can take it. Raises InputError if
    it is another sweep's, and LedgerError if a driver has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        here = described(folder).get("id")
        if here not in (None, id):
            law = "a sweep is brought to its own folder"
            raise InputError([f"{law}, but {folder} is that of another one; --out names a place"])
        yield


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[Ledger]:
    """The ledger of a folder, to be read."""
    ledger = Ledger(folder, write=False)
    try:
        yield ledger
    finally:
        ledger.close()


def source(uri: str | None, folder: Path) -> Source:
    """Where a sweep is: in the storage that is named, or that its folder names if that was written
    here; or else on the head of the cluster of ``./cluster.yaml``. Raises InputError."""
    uri = uri or own_storage(folder) or os.environ.get("SWEEPER_STORAGE")
    if uri:
        return StorageSource(Storage(uri))
    here = Here()
    if launched := brought_up(here.folder / LAUNCHER, here):
        return HeadSource(launched)
    refuse_foreign(folder, "--from")
    law = "a sweep is brought from --from URI, from SWEEPER_STORAGE or from the head of a cluster"
    raise InputError([f"{law} that ./{LAUNCHER} brought up, but none of them is there"])


def pull(name: str, uri: str | None, out: Path, say: Say) -> Path:
    """Bring a sweep to its folder under ``out``, and make there what is made from its ledger: the
    tables, and MLflow's records. Returns the folder.

    Raises InputError, StorageError, ClusterError and LedgerError.
    """
    start = time.monotonic()
    out = out.resolve()
    folder, brought = source(uri, out / name).bring(name, out)
    seconds = time.monotonic() - start
    files = "1 file" if brought == 1 else f"{brought} files"
    say(f"{os.path.relpath(folder)}: {files} brought in {seconds:.1f} s")
    plan = described(folder)
    with held(folder), reading(folder) as ledger:
        write_tables(ledger, folder, plan["protocol_hash"])
        tracker = Tracker(plan, ledger, folder, default_uri(folder))
        if tracker.close(MLFLOW):
            say("; ".join(tracker.warnings) or "MLflow does not have it all yet: pull again")
    return folder
