"""A sweep brought home from a storage or a head: all that is looked at, and only what is new."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger, LedgerError
from sweeper.report.page import write_report
from sweeper.report.table import top_lines
from sweeper.space.brought import note
from sweeper.space.source import InputError
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.generate import generate
from sweeper.sweep.keeper import copying, snapshot
from sweeper.sweep.mirror import CACHE, NEEDS, Mirror, Needs, place_of
from sweeper.sweep.plan import Plan
from sweeper.sweep.pull import HeadSource, Source, StorageSource, pull, source
from sweeper.sweep.storage import Storage, StorageError
from sweeper.sweep.ui import find_database
from sweeper.sweep.where import ClusterError, Launched
from sweeper.trial.checkpoint import Checkpoints
from tests.sweep.plans import small
from tests.sweep.synthetic import PLAN, fill

ID = PLAN["id"]
NAME = PLAN["name"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEPER_STORAGE", raising=False)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A results folder on another machine: six trials, each with its sheets and a checkpoint."""
    folder = tmp_path / "far" / "results" / NAME
    folder.mkdir(parents=True)
    with Ledger(folder) as ledger:
        fill(ledger, folder)
        for record in ledger.records:
            place = folder / "trials" / f"{record.number:05d}"
            Checkpoints(place / "checkpoints").save(record.step, {"number": record.number})
            (place / "log.txt").write_text("once\n")
    packed = folder.parent / CACHE / "data" / "digits-x"
    packed.mkdir(parents=True)
    for name in ("data.mdb", "meta.json"):
        (packed / name).write_text("packed")
    return folder


def put_up(far: Path, base: Storage) -> None:
    """The storage as a driver and its workers leave it."""
    place = base.under(ID)
    for name in ("sweep.json", "resolved.yaml"):
        if (far / name).is_file():
            place.put(far / name, name)
    copy = far.parent / "copy"
    place.put(copy, f"ledger/{snapshot(far / 'ledger.sqlite', copy)}")
    base.under(CACHE).push(far.parent / CACHE, "", {})
    place.write(NEEDS, json.dumps(Needs("data/digits-x", []).plain()).encode())
    for trial in (far / "trials").iterdir():
        Mirror(place.under(f"trials/{trial.name}"), trial, "1-d").push()


@dataclass(frozen=True)
class OverRsync(Launched):
    """A cluster whose head is a folder of this machine, reached as Ray's launcher does: by rsync
    and a shell."""

    home: Path = Path()

    def fetch(self, path: str, into: Path) -> None:
        words = ["rsync", "-az", path.replace("~", str(self.home), 1), str(into)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(done.stderr)

    def told(self, command: str, *words: str, timeout: float) -> str:
        assert command == "exec"
        environment = {**os.environ, "HOME": str(self.home)}
        done = subprocess.run(
            ["bash", "-c", *words], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout


needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


@pytest.fixture(params=["a storage", pytest.param("a head", marks=needs_rsync)])
def there(request: pytest.FixtureRequest, far: Path, tmp_path: Path) -> Source:
    if request.param == "a head":
        home = far.parent.parent
        return HeadSource(OverRsync(tmp_path / "cluster.yaml", "c", None, home=home))
    base = Storage(str(tmp_path / "storage"))
    put_up(far, base)
    return StorageSource(base)


def listing(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and "ledger" not in path.name and path.name != "log.txt"
    }


def test_what_is_looked_at_is_brought(there: Source, tmp_path: Path) -> None:
    folder, brought = there.bring(NAME, tmp_path / "here")
    assert folder == tmp_path / "here" / NAME
    assert brought > 20
    ledger = Ledger(folder, write=False)
    try:
        assert [record.state for record in ledger.records][:3] == ["completed"] * 2 + ["stopped"]
    finally:
        ledger.close()
    for number in range(4):  # the others broke
        trial = folder / "trials" / f"{number:05d}"
        assert Checkpoints(trial / "checkpoints").load() == {"number": number}
        assert list((trial / "samples").iterdir())
        assert (trial / "log.txt").read_text() == "once\n"


def test_bringing_twice_brings_only_what_is_new(there: Source, far: Path, tmp_path: Path) -> None:
    folder, _ = there.bring(NAME, tmp_path / "here")
    before = listing(folder)
    _, again = there.bring(NAME, tmp_path / "here")
    assert again == 0
    assert listing(folder) == before
    (far / "trials" / "00000" / "log.txt").write_text("once\nand again\n")
    with Ledger(far) as ledger:
        ledger.add_trial({}, {})
        ledger.started(6)
    if isinstance(there, StorageSource):
        put_up(far, there.base)
    there.bring(NAME, tmp_path / "here")
    assert listing(folder) == before
    assert (folder / "trials" / "00000" / "log.txt").read_text() == "once\nand again\n"
    assert sorted(path.name for path in folder.glob("ledger.sqlite*")) == ["ledger.sqlite"]
    ledger = Ledger(folder, write=False)
    try:
        assert len(ledger.records) == 7
    finally:
        ledger.close()


def test_a_folder_that_a_driver_holds_is_left_alone(there: Source, tmp_path: Path) -> None:
    (tmp_path / "here" / NAME).mkdir(parents=True)
    with (
        Ledger(tmp_path / "here" / NAME),
        pytest.raises(LedgerError, match="one driver runs a sweep at a time"),
    ):
        there.bring(NAME, tmp_path / "here")


def test_a_folder_of_another_sweep_is_left_alone(there: Source, tmp_path: Path) -> None:
    other = tmp_path / "here" / NAME
    other.mkdir(parents=True)
    (other / "sweep.json").write_text('{"id": "ffffffffffff"}')
    with pytest.raises(InputError, match=r"brought to its own folder, but .* of another one"):
        there.bring(NAME, tmp_path / "here")
    assert (other / "sweep.json").read_text() == '{"id": "ffffffffffff"}'


def test_an_unknown_name_is_answered_with_those_that_there_are(
    there: Source, tmp_path: Path
) -> None:
    with pytest.raises((StorageError, ClusterError), match=rf"did you mean '{NAME}'\?") as told:
        there.bring("ttur-3", tmp_path / "here")
    assert NAME in str(told.value).partition("here are")[2]
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("name", ["../x", "/etc", "a/../../b", ".."])
def test_a_name_leads_nowhere_else(there: Source, tmp_path: Path, name: str) -> None:
    with pytest.raises((StorageError, ClusterError)):
        there.bring(name, tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_storage_brings_no_checkpoints_of_trials_far_behind(far: Path, tmp_path: Path) -> None:
    with Ledger(far) as ledger:
        for number in range(6, 9):
            ledger.add_trial({}, {})
            ledger.started(number)
            ledger.measured(number, 1, 3200, 1000.0 + number, "continue", {"best": 1000.0})
            folder = far / "trials" / f"{number:05d}"
            Checkpoints(folder / "checkpoints").save(3200, {"number": number})
            (folder / "log.txt").write_text("once\n")
    base = Storage(str(tmp_path / "storage"))
    put_up(far, base)
    folder, _ = StorageSource(base).bring(ID, tmp_path / "here")
    assert (folder / "trials" / "00008" / "log.txt").is_file()
    assert not (folder / "trials" / "00008" / "checkpoints").exists()
    assert (tmp_path / "here" / CACHE / "data" / "digits-x" / "meta.json").is_file()


def test_where_a_sweep_is_brought_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "results" / "ttur"
    with pytest.raises(InputError, match="from --from URI, from SWEEPER_STORAGE or from the head"):
        source(None, folder)
    monkeypatch.setenv("SWEEPER_STORAGE", str(tmp_path / "environment"))
    assert uri_of(source(None, folder)) == str(tmp_path / "environment")
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"storage": str(tmp_path / "known")}))
    assert uri_of(source(None, folder)) == str(tmp_path / "environment")
    note(folder, ["sweep.json"])
    assert uri_of(source(None, folder)) == str(tmp_path / "known")
    assert uri_of(source("given", folder)) == str(tmp_path / "given")


def uri_of(found: Source) -> str:
    assert isinstance(found, StorageSource)
    return found.base.uri


@pytest.mark.slow
def test_what_was_brought_is_looked_at_offline(tmp_path: Path, migrated: Path, plan: Plan) -> None:
    """The ranking, the report, MLflow's pages and samples, with the storage gone."""
    uri, out = tmp_path / "storage", tmp_path / "here"
    out.mkdir()
    shutil.copy(migrated, out / "mlflow.db")
    put_up_sweep(plan, Storage(str(uri)))
    said: list[str] = []
    folder = pull(plan.name, str(uri), out, said.append)
    assert "files brought in" in said[0]
    assert len(said) == 1, "MLflow has it all"
    shutil.rmtree(uri)
    assert "t000" in "\n".join(top_lines(folder, 5))
    assert write_report(folder).is_file()
    assert find_database(folder) == out / "mlflow.db"
    list(generate(folder, 4, tmp_path / "grid.png", None, 0))
    assert (tmp_path / "grid.png").is_file()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return small(tmp_path / "far", trials=2)


def put_up_sweep(plan: Plan, base: Storage) -> None:
    """A sweep of two trials, as its driver leaves it in the storage."""
    with Ledger(plan.folder) as ledger, copying(plan, base.uri, lambda: None) as copy:
        sweep = Sweep(plan, ledger, [copy], storage=place_of(base.uri, plan.id))
        InlineExecutor().run(sweep)
