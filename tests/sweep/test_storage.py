"""A place that all nodes share: files whole or not at all, names that stay, workers that mirror,
drivers whose ledger outlives them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sweeper.ledger.ledger import Ledger, LedgerError
from sweeper.sweep import keeper
from sweeper.sweep.executor import InlineExecutor, Job, Sweep, work
from sweeper.sweep.keeper import (
    LedgerCopy,
    claim,
    fetch_ledger,
    find,
    put_cache,
    read_packed,
    recover,
    restore,
    snapshot,
)
from sweeper.sweep.mirror import (
    CACHE,
    Mirror,
    Needs,
    attempts,
    caches,
    fetch_cache,
    fetch_trial,
    newest,
    place_of,
    with_data,
)
from sweeper.sweep.plan import Plan
from sweeper.sweep.storage import DRAFT, Stamp, Storage, StorageError, resolved
from sweeper.trial.checkpoint import Checkpoints
from tests.sweep.bucket import bucket
from tests.sweep.plans import SMALL, SPACES, small
from tests.sweep.synthetic import fill

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["a folder", "a bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, keys: None) -> Iterator[Storage]:
    """A storage of each kind."""
    if request.param == "a folder":
        yield Storage(str(tmp_path / "storage"))
        return
    with bucket() as (uri, _):
        yield Storage(uri)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def read(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def wait_for(true: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


# Files by name


def test_what_is_pushed_is_pulled(storage: Storage, tmp_path: Path) -> None:
    here = write(tmp_path / "here", a="1", deep__er__b="2")
    known: dict[str, Stamp] = {}
    assert sorted(storage.push(here, "some/where", known)) == ["a", "deep/er/b"]
    there: dict[str, Stamp] = {}
    assert storage.pull("some/where", tmp_path / "there", there) == ["a", "deep/er/b"]
    assert read(tmp_path / "there") == {"a": "1", "deep/er/b": "2"}


def test_only_what_is_new_or_changed_is_moved(storage: Storage, tmp_path: Path) -> None:
    here, known, there = write(tmp_path / "here", a="1", b="2"), {}, {}
    storage.push(here, "x", known)
    storage.pull("x", tmp_path / "there", there)
    assert storage.push(here, "x", known) == []
    assert storage.pull("x", tmp_path / "there", there) == []
    write(here, b="other", c="3")
    assert sorted(storage.push(here, "x", known)) == ["b", "c"]
    assert storage.pull("x", tmp_path / "there", there) == ["b", "c"]
    (tmp_path / "there" / "a").unlink()
    assert storage.pull("x", tmp_path / "there", there) == ["a"]
    assert read(tmp_path / "there") == {"a": "1", "b": "other", "c": "3"}


def test_a_large_file_comes_through(storage: Storage, tmp_path: Path) -> None:
    """Larger than the blocks that it is moved in, and than a part of an upload."""
    data = os.urandom((11 << 20) + 7)
    (tmp_path / "large").write_bytes(data)
    storage.put(tmp_path / "large", "x/large")
    storage.get("x/large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data


def test_listing_and_removing(storage: Storage) -> None:
    assert storage.files() == {}
    assert storage.folders() == []
    for name in ("a", "x/b", "x/y/c"):
        storage.write(name, name.encode())
    assert set(storage.files()) == {"a", "x/b", "x/y/c"}
    assert set(storage.files(deep=False)) == {"a"}
    assert set(storage.files("x")) == {"b", "y/c"}
    assert storage.folders() == ["x"]
    assert storage.under("x").read("y/c") == b"x/y/c"
    storage.remove(["a", "x/b", "never/was"])
    assert set(storage.files()) == {"x/y/c"}


def write_for_ever(uri: str) -> None:
    storage = Storage(uri)
    for n in range(1_000_000):
        storage.write("file", str(n % 10).encode() * 3_000_000)


def test_a_file_is_never_seen_in_part(tmp_path: Path) -> None:
    """While another process writes it over and over, and when that one is killed."""
    storage = Storage(str(tmp_path))
    writer = SPAWN.Process(target=write_for_ever, args=(storage.uri,))
    writer.start()
    try:
        wait_for(lambda: "file" in storage.files(), 120)
        for _ in range(100):
            data = storage.read("file")
            assert len(data) == 3_000_000
            assert len(set(data)) == 1
    finally:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    assert len(set(storage.read("file"))) == 1
    assert set(storage.files()) == {"file"}, "a draft of the dead is no file"


def test_drafts_are_neither_pushed_nor_listed(tmp_path: Path) -> None:
    here = write(tmp_path / "here", a="1", b__c="2")
    write(here, **{f"{DRAFT}x": "half", "b__d.7.tmp": "half"})
    storage = Storage(str(tmp_path / "there"))
    assert sorted(storage.push(here, "x", {})) == ["a", "b/c"]


STRAY = ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "..", "a\\b", "a\0b"]


@pytest.mark.parametrize("name", STRAY)
def test_names_stay(storage: Storage, tmp_path: Path, name: str) -> None:
    for way in (
        lambda: storage.read(name),
        lambda: storage.write(name, b""),
        lambda: storage.get(name, tmp_path / "x"),
        lambda: storage.remove([name]),
        lambda: storage.files(name),
        lambda: storage.under(name),
    ):
        with pytest.raises(StorageError, match=r"relative and have no '\.\.', but got"):
            way()


def test_links_are_not_followed_out(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", password="x")
    root = write(tmp_path / "storage", x__ok="fine")
    (root / "x" / "out").symlink_to(secret)
    storage = Storage(str(root))
    with pytest.raises(StorageError, match="stay in their storage"):
        storage.read("x/out/password")
    with pytest.raises(StorageError, match="stay in their storage"):
        storage.write("x/out/password", b"y")
    here = write(tmp_path / "here", ok="fine")
    (here / "link").symlink_to(secret / "password")
    with pytest.raises(StorageError, match="stay in their folder"):
        storage.push(here, "y", {})
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "x").symlink_to(secret)
    storage.write("z/x/password", b"y")
    with pytest.raises(StorageError, match="stay in their folder"):
        storage.pull("z", tmp_path / "target", {})
    assert (secret / "password").read_text() == "x"


@pytest.mark.parametrize(
    ("uri", "law"),
    [
        ("", "a storage is a path or s3://BUCKET/FOLDER, but got ''"),
        ("ftp://host/x", "a storage is a path or s3://BUCKET/FOLDER, but got 'ftp://host/x'"),
        ("file:///x", "a storage is a path or s3://BUCKET/FOLDER"),
        ("s3://key:hidden@bucket/x", r"credentials stand in the environment, but got s3://…@buc"),
    ],
)
def test_what_is_no_storage_is_refused(uri: str, law: str) -> None:
    with pytest.raises(StorageError, match=law) as caught:
        Storage(uri)
    assert "hidden" not in str(caught.value)


def test_a_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved("some/../where/") == str(tmp_path / "where")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolved("~/where") == str(tmp_path / "where")


def test_an_error_says_what_where_and_why(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a storage can be read, but .*none/such.*: \w") as told:
        storage.read("none/such")
    assert storage.uri.partition("?")[0] in str(told.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"a storage can be written, but .*: Not a directory"):
        Storage(str(tmp_path / "file" / "x")).write("a", b"")


def test_a_bucket_that_refuses_is_told_of(keys: None) -> None:
    with bucket() as (uri, served):
        storage = Storage(uri)
        served.down = True
        for way in (storage.files, lambda: storage.read("a"), lambda: storage.write("a", b"")):
            with pytest.raises(StorageError, match="ACCESS_DENIED"):
                way()
    with pytest.raises(StorageError, match=r"a storage can be listed, but s3://bucket/sweeps"):
        storage.files()


# A worker's side


def stamped(*names: str) -> dict[str, Stamp]:
    return {name: Stamp(1, n) for n, name in enumerate(names)}


def test_the_newest_attempt_has_the_say() -> None:
    files = stamped(
        "2-bb/begun", "2-bb/log.txt", "2-bb/checkpoints/000000000200-b.pt", "10-aa/begun",
        "10-aa/log.txt", "2-bb/samples/1.png", "stray", "x-y/stray",
    )  # fmt: skip
    merged = newest(attempts(files))
    assert {name: attempt for name, (attempt, _) in merged.items()} == {
        "log.txt": "10-aa",
        "checkpoints/000000000200-b.pt": "2-bb",
        "samples/1.png": "2-bb",
    }


def test_of_one_number_the_attempt_that_began_later_has_the_say() -> None:
    """Two drivers may count the same attempt, when one was restored from an older copy."""
    files = stamped("3-zz/begun", "3-aa/begun", "3-aa/log.txt", "3-zz/log.txt")
    assert newest(attempts(files))["log.txt"][0] == "3-aa"


def test_what_somebody_cut_off_still_writes_does_not_count(
    storage: Storage, tmp_path: Path
) -> None:
    orphan, successor = tmp_path / "orphan", tmp_path / "successor"
    first = Mirror(storage, orphan, "1-d")
    first.fetch()
    one = Checkpoints(orphan / "checkpoints")
    for images in (100, 200):
        one.save(images, {"images": images, "by": "first"})
        write(orphan, samples__same=f"first {images}")
        first.push()
    second = Mirror(storage, successor, "2-d")
    second.fetch()
    two = Checkpoints(successor / "checkpoints")
    assert two.load() == {"images": 200, "by": "first"}
    two.save(300, {"images": 300, "by": "second"})
    write(successor, samples__same="second")
    second.push()
    before = {name: storage.read(name) for name in storage.files() if name.startswith("2-d/")}
    for images in (300, 400, 500, 600):
        one.save(images, {"images": images, "by": "orphan"})
        write(orphan, samples__same=f"orphan {images}")
        first.push()
    after = {name: storage.read(name) for name in storage.files() if name.startswith("2-d/")}
    assert after == before, "its successor's files are as they were"
    third = tmp_path / "third"
    fetch_trial(storage, third)
    assert Checkpoints(third / "checkpoints").load() == {"images": 300, "by": "second"}
    assert (third / "samples" / "same").read_text() == "second"


def test_what_is_pruned_here_is_pruned_there_and_in_older_attempts(
    storage: Storage, tmp_path: Path
) -> None:
    for attempt, start in (("1-d", 100), ("2-d", 300)):
        folder = tmp_path / attempt
        mirror = Mirror(storage, folder, attempt)
        mirror.fetch()
        checkpoints = Checkpoints(folder / "checkpoints")
        for images in range(start, start + 200, 100):
            checkpoints.save(images, {"images": images})
            mirror.push()
    kept = [name for name in storage.files() if name.endswith(".pt")]
    assert sorted(int(name.partition("checkpoints/")[2][:12]) for name in kept) == [300, 400]


def test_a_damaged_checkpoint_in_a_storage_is_passed_over(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    mirror, checkpoints = Mirror(storage, folder, "1-d"), Checkpoints(folder / "checkpoints")
    for images in (100, 200):
        path = checkpoints.save(images, {"images": images})
        mirror.push()
    storage.write(f"1-d/checkpoints/{path.name}", path.read_bytes()[:-10])
    again = tmp_path / "second"
    Mirror(storage, again, "2-d").fetch()
    assert Checkpoints(again / "checkpoints").load() == {"images": 100}


def test_an_outage_delays_no_trial_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, folder = tmp_path / "storage", tmp_path / "trial"
    mirror, checkpoints = (
        Mirror(Storage(str(root)), folder, "1-d"),
        Checkpoints(folder / "checkpoints"),
    )
    mirror.fetch()
    root.rename(tmp_path / "away")
    root.write_text("no folder")  # so that it cannot be made again
    for images in (100, 200, 300):
        checkpoints.save(images, {"images": images})
        mirror.push()
        time.sleep(0.05)
    warned = [r for r in caplog.records if "goes on without its storage" in r.getMessage()]
    assert len(warned) == 1
    root.unlink()
    (tmp_path / "away").rename(root)
    wait_for(lambda: mirror.push() or not mirror.warned)
    kept = sorted(p.name for p in (root / "1-d" / "checkpoints").iterdir())
    assert kept == sorted(p.name for p in checkpoints.paths())


# Two nodes that share a storage alone


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=3)


def node_job(plan: Plan, node: Path, uri: str, attempt: int) -> Job:
    """A job of the plan's first baseline as a node is told it, whose paths are its own."""
    trial = plan.space.baseline(plan.space.baselines[0])[1].plain()
    return Job(
        0, attempt, trial, str(node / "trials" / "00000"), str(node / CACHE), 1,
        storage=place_of(uri, plan.id), driver="d",
    )  # fmt: skip


def node(job: dict[str, Any], reports: Any) -> None:
    for report in work(Job(**job)):
        reports.put({k: v for k, v in report.items() if "second" not in k})
    reports.put(None)


def received(reports: Any, n: int | None = None) -> Iterator[dict[str, Any]]:
    while n != 0 and (report := reports.get(timeout=200)) is not None:
        yield report
        n = None if n is None else n - 1


@pytest.mark.slow
def test_a_node_that_is_lost_is_continued_by_another(plan: Plan, tmp_path: Path) -> None:
    """Two processes with nothing in common but the storage: no results, no cache."""
    uri = str(tmp_path / "storage")
    put_cache(Storage(uri), plan)
    first, reports = node_job(plan, tmp_path / "a", uri, 1), SPAWN.Queue()
    process = SPAWN.Process(target=node, args=(first.plain(), reports))
    process.start()
    seen = list(received(reports, 3))
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    shutil.rmtree(tmp_path / "a")
    second, others = node_job(plan, tmp_path / "b", uri, 2), SPAWN.Queue()
    process = SPAWN.Process(target=node, args=(second.plain(), others))
    process.start()
    continued = list(received(others))
    process.join(60)
    steps = [plan.every * k for k in range(1, 10)]
    assert [report["images"] for report in continued] == steps
    assert continued[:3] == seen, "it continues from where the first one was"
    alone = replace(node_job(plan, tmp_path / "c", uri, 1), storage=None, cache=str(plan.cache))
    undisturbed = [{k: v for k, v in report.items() if "second" not in k} for report in work(alone)]
    assert json.loads(json.dumps(continued)) == json.loads(json.dumps(undisturbed))
    sheets = {path.name for path in (tmp_path / "b").glob("trials/00000/samples/*")}
    assert sheets == {f"{images:012d}.png" for images in steps}, "the first one's are there too"


def test_data_that_the_driver_alone_has_is_read_packed(plan: Plan, tmp_path: Path) -> None:
    packed = {"packed": {"path": str(plan.store.path)}}
    for name, knob in (("folder", "path"), ("packed", "path"), ("torchvision", "root")):
        trial = {"data": {name: {knob: str(tmp_path / "gone")}}, "seed": 1}
        assert with_data(trial, plan.store.path) == {"data": packed, "seed": 1}
        here = {"data": {name: {knob: str(tmp_path)}}, "seed": 1}
        assert with_data(here, plan.store.path) == here
        assert with_data(trial, tmp_path / "none") == trial, "so that what lacks is named"
    assert with_data({"data": {"digits": {}}}, plan.store.path) == {"data": {"digits": {}}}


def test_a_lost_heads_images_are_not_needed(tmp_path: Path, plan: Plan) -> None:
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text("name: x\ntrial: {data: {folder: {path: /gone/with/the/head}}, seed: 1}\n")
    read_packed(resolved, plan.store.path)
    tree = YAML(typ="safe").load(resolved.read_text())
    data = {"packed": {"path": str(plan.store.path)}}
    assert tree == {"name": "x", "trial": {"data": data, "seed": 1}}
    for wrong in ("", "trial: 7", "trial: {data: x}", "{"):
        resolved.write_text(wrong)
        read_packed(resolved, plan.store.path)
        assert resolved.read_text() == wrong


def fetch(uri: str, cache: str, needs: dict[str, Any], fetched: Any) -> None:
    fetched.put(fetch_cache(Storage(uri), Path(cache), Needs(**needs)))


def test_a_node_fetches_what_it_needs_once(plan: Plan, tmp_path: Path) -> None:
    base = Storage(str(tmp_path / "storage"))
    put_cache(base, plan)
    stamps = base.files()
    put_cache(base, plan)
    assert {n: s for n, s in base.files().items() if n.startswith(CACHE)} == {
        n: s for n, s in stamps.items() if n.startswith(CACHE)
    }, "what is there is not put up again"
    place = base.under(plan.id)
    needs, cache = Needs.read(place), tmp_path / "node" / CACHE
    fetched = SPAWN.Queue()
    processes = [
        SPAWN.Process(target=fetch, args=(caches(place).uri, str(cache), needs.plain(), fetched))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    # The data and its description; statistics for the rungs and the end, and features of the end.
    assert sorted(fetched.get(timeout=200) for _ in processes) == [0, 0, 5]
    for process in processes:
        process.join(60)
    for name in ("data.mdb", "meta.json"):
        assert (cache / needs.data / name).read_bytes() == (plan.store.path / name).read_bytes()
    for name in needs.files:
        assert (cache / name).read_bytes() == (plan.cache / name).read_bytes()


def test_a_worker_that_cannot_reach_the_storage_says_so(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("no folder")
    (report,) = work(node_job(plan, tmp_path / "a", str(tmp_path / "storage"), 1))
    assert (report["kind"], report["cause"]) == ("failed", "storage")
    assert str(tmp_path / "storage") in report["reason"]


# A driver's side


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    (tmp_path / "ttur").mkdir()
    with Ledger(tmp_path / "ttur") as opened:
        yield opened


def sequence(path: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [seq for (seq,) in database.execute("SELECT seq FROM events ORDER BY seq")]


def commit_for_ever(folder: str) -> None:
    with Ledger(Path(folder)) as ledger:
        ledger.add_trial({}, {"pad": "x" * 2000})
        ledger.started(0)
        for step in range(1, 1_000_000):
            ledger.measured(0, 1, step, 1.0, "continue", {"pad": "y" * 2000})


def test_a_copy_is_consistent_while_the_ledger_grows(tmp_path: Path) -> None:
    folder = tmp_path / "ttur"
    folder.mkdir()
    writer = SPAWN.Process(target=commit_for_ever, args=(str(folder),))
    writer.start()
    try:
        wait_for(lambda: (folder / "ledger.sqlite").exists() and snapshot_length(folder) > 2, 120)
        lengths = [snapshot_length(folder) for _ in range(15)]
    finally:
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]


def snapshot_length(folder: Path) -> int:
    with contextlib.suppress(sqlite3.OperationalError):  # its tables are not there yet
        name = snapshot(folder / "ledger.sqlite", folder / "copy")
        found = sequence(folder / "copy")
        assert found == list(range(1, len(found) + 1)), "no commit is missing before the last"
        assert name.startswith(f"{len(found):012d}-")
        return len(found)
    return 0


def test_the_ledger_is_copied_as_it_grows(storage: Storage, ledger: Ledger, tmp_path: Path) -> None:
    place, folder = storage.under("0123456789ab"), tmp_path / "ttur"
    copy = LedgerCopy(place, folder, lambda: None)
    copy.start()
    try:
        fill(ledger, folder)
        write(folder, use__mine="print()", resolved__yaml="no", other="no")
        copy.observe(ledger.events[-1])
        wait_for(lambda: fetched_length(place, tmp_path) == len(ledger.events), 120)
        ledger.add_trial({}, {})
        copy.observe(ledger.started(6))
    finally:
        copy.close()
    assert fetched_length(place, tmp_path) == len(ledger.events), "the last ones at the end"
    assert len(place.files("ledger")) == 2, "the one before is kept, and no more"
    assert {"sweep.json", "use/mine"} <= set(place.files())
    assert not {"other", "driver.json", "ledger.lock"} & set(place.files())


def fetched_length(place: Storage, tmp_path: Path) -> int:
    path = tmp_path / "fetched"
    return len(sequence(path)) if fetch_ledger(place, path) else 0


def test_a_torn_copy_gives_way_to_the_one_before(
    storage: Storage, ledger: Ledger, tmp_path: Path
) -> None:
    fill(ledger, tmp_path / "ttur")
    first = snapshot(ledger.path, tmp_path / "first")
    whole = len(ledger.events)
    storage.put(tmp_path / "first", f"ledger/{first}")
    ledger.add_trial({}, {})
    ledger.started(6)
    second = snapshot(ledger.path, tmp_path / "second")
    data = (tmp_path / "second").read_bytes()
    for torn in (data[:-1], data[: len(data) // 2], b"", data[:5000] + b"\1" + data[5001:]):
        storage.write(f"ledger/{second}", torn)
        assert fetched_length(storage, tmp_path) == whole
    storage.write(f"ledger/{second}", data)
    assert fetched_length(storage, tmp_path) == whole + 1
    storage.write(f"ledger/{first}", b"torn")
    storage.write(f"ledger/{second}", b"torn")
    with pytest.raises(StorageError, match=r"no copy in .* is whole"):
        fetch_ledger(storage, tmp_path / "fetched")


def test_an_outage_of_the_storage_costs_the_driver_a_line(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keeper, "PAUSE", 0.1)
    root = tmp_path / "storage"
    place = Storage(str(root)).under("0123456789ab")
    copy = LedgerCopy(place, tmp_path / "ttur", lambda: None)
    copy.start()
    try:
        wait_for(lambda: place.files("ledger"))
        root.rename(tmp_path / "away")
        root.write_text("no folder")
        fill(ledger, tmp_path / "ttur")
        with copy._working:  # whoever waited for the copying would wait for ever
            for event in ledger.events:
                copy.observe(event)
        wait_for(lambda: "its copy waits" in caplog.text)
        time.sleep(1)
        root.unlink()
        (tmp_path / "away").rename(root)
        wait_for(lambda: fetched_length(place, tmp_path) == len(ledger.events))
    finally:
        copy.close()
    assert sum("its copy waits" in record.getMessage() for record in caplog.records) == 1


def test_an_order_to_stop_is_found_in_the_storage(ledger: Ledger, tmp_path: Path) -> None:
    place, stopped = Storage(str(tmp_path / "storage")).under("0123456789ab"), []
    place.write("stop", b"")  # one for the driver before
    copy = LedgerCopy(place, tmp_path / "ttur", lambda: stopped.append(True))
    copy.start()
    try:
        time.sleep(0.5)
        assert not stopped
        place.write("stop", b"")
        wait_for(lambda: stopped, 120)
        assert "stop" not in place.files()
    finally:
        copy.close()


def elsewhere(place: Storage, silent: float, root: Path) -> None:
    """A driver on another host, whose last sign was so many seconds ago."""
    driver = {"holder": "far, process 7", "host": "far", "folder": "/r", "token": "t"}
    place.write("driver.json", json.dumps(driver).encode())
    at = time.time() - silent
    os.utime(root / "0123456789ab" / "driver.json", (at, at))


def test_a_sweep_that_is_driven_elsewhere_is_refused_until_that_driver_is_dead(
    tmp_path: Path,
) -> None:
    place = Storage(str(tmp_path)).under("0123456789ab")
    elsewhere(place, 10, tmp_path)
    with pytest.raises(StorageError, match=r"held by far, process 7: its last sign was 1. s ago"):
        claim(place, tmp_path / "ttur", "mine")
    elsewhere(place, 61, tmp_path)
    claim(place, tmp_path / "ttur", "mine")
    claim(place, tmp_path / "ttur", "next"), "a driver killed here is followed at once"
    with pytest.raises(StorageError, match="one driver runs a sweep at a time"):
        claim(place, tmp_path / "other folder", "third")


def test_a_driver_that_was_taken_for_dead_stops(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(keeper, "BEAT", 0.2)
    monkeypatch.setattr(keeper, "PAUSE", 0.1)
    root = tmp_path / "storage"
    place, stopped = Storage(str(root)).under("0123456789ab"), []
    copy = LedgerCopy(place, tmp_path / "ttur", lambda: stopped.append(True))
    copy.start()
    wait_for(lambda: place.files("ledger"))
    elsewhere(place, 0, root)
    wait_for(lambda: stopped)
    before = set(place.files())
    fill(ledger, tmp_path / "ttur")
    copy.observe(ledger.events[-1])
    copy.close()
    assert set(place.files()) == before, "it writes nothing any more, and leaves the sign"
    assert "driven by far, process 7 now" in caplog.text


def put_up(ledger: Ledger, place: Storage, tmp_path: Path) -> None:
    name = snapshot(ledger.path, tmp_path / "up")
    place.put(tmp_path / "up", f"ledger/{name}")
    place.put(ledger.path.parent / "sweep.json", "sweep.json")


def test_a_lost_ledger_is_restored_and_an_older_one_gives_way(
    storage: Storage, ledger: Ledger, tmp_path: Path
) -> None:
    folder, place = tmp_path / "ttur", storage.under("0123456789ab")
    fill(ledger, folder)
    put_up(ledger, place, tmp_path)
    shutil.copytree(folder, tmp_path / "older")
    ledger.add_trial({}, {})
    ledger.started(6)
    put_up(ledger, place, tmp_path)
    events, lost = len(ledger.events), tmp_path / "lost"
    assert restore(place, lost)
    assert len(sequence(lost / "ledger.sqlite")) == events
    assert json.loads((lost / "sweep.json").read_text())["name"] == "ttur-2"
    assert not restore(place, lost), "now it has it all"
    # The older one's last commits are in its journal alone, which must not mix with the other.
    assert (tmp_path / "older" / "ledger.sqlite-wal").stat().st_size
    assert restore(place, tmp_path / "older")
    assert len(sequence(tmp_path / "older" / "ledger.sqlite")) == events
    assert len(sequence(tmp_path / "older" / "ledger.1.old")) == events - 1, (
        "nothing is thrown away"
    )
    with pytest.raises(LedgerError, match="one driver runs a sweep at a time"):
        restore(place, folder)


def test_a_newer_ledger_stays(ledger: Ledger, tmp_path: Path) -> None:
    folder, place = tmp_path / "ttur", Storage(str(tmp_path / "storage")).under("0123456789ab")
    fill(ledger, folder)
    put_up(ledger, place, tmp_path)
    ledger.add_trial({}, {})
    ledger.started(6)
    events = len(ledger.events)
    ledger.close()
    assert not restore(place, folder)
    assert len(sequence(folder / "ledger.sqlite")) == events


def test_a_ledger_that_went_another_way_gives_way(ledger: Ledger, tmp_path: Path) -> None:
    """A head that was cut off wrote on, while another one went on from its last copy."""
    folder, place = tmp_path / "ttur", Storage(str(tmp_path / "storage")).under("0123456789ab")
    fill(ledger, folder)
    put_up(ledger, place, tmp_path)
    assert restore(place, tmp_path / "other")
    with Ledger(tmp_path / "other") as other:
        other.add_trial({}, {"by": "other"})
        other.started(6)
        put_up(other, place, tmp_path)
    for _ in range(3):
        ledger.add_trial({}, {"by": "cut off"})
    ledger.started(6)
    ledger.started(7)
    ledger.close()
    assert restore(place, folder)
    with Ledger(folder) as restored:
        assert restored[6].config == {"by": "other"}


def test_which_sweep_is_meant(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is none in"):
        find(storage, "ttur")
    for n, name in enumerate(("ttur", "losses", "losses")):
        plain = {"name": name, "created": 1_700_000_000 + n}
        storage.write(f"{n}a/sweep.json", json.dumps(plain).encode())
    storage.write("9f/sweep.json", b"torn")
    assert find(storage, "ttur").id == "0a"
    assert find(storage, "2a").name == "losses"
    with pytest.raises(StorageError, match=r"named by its id(.|\n)*id 2a(.|\n)*id 1a"):
        find(storage, "losses")
    with pytest.raises(StorageError, match=r"none named 'tur'; did you mean 'ttur'\?(.|\n)*id 0a"):
        find(storage, "tur")


def test_a_sweep_without_a_storage_needs_none(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, tmp_path / "ttur")
    assert recover(tmp_path / "ttur", None, pytest.fail) == (tmp_path / "ttur", None)
    uri = str(tmp_path / "storage")
    assert recover(tmp_path / "ttur", uri, pytest.fail) == (tmp_path / "ttur", uri)


def test_at_the_end_the_best_trials_are_here(plan: Plan, tmp_path: Path) -> None:
    """A driver on whose node no trial ran has their sheets and checkpoints all the same."""
    place = Storage(str(tmp_path / "storage")).under("0123456789ab")
    for number in range(3):
        folder = tmp_path / "node" / str(number)
        Checkpoints(folder / "checkpoints").save(100, {"number": number})
        write(folder, samples__sheet="a picture")
        Mirror(place.under(f"trials/{number:05d}"), folder, "1-d").push()
    driver = tmp_path / "driver"
    driver.mkdir()
    copy = LedgerCopy(place, driver, lambda: None)
    copy.finish({1}, complete=True)
    assert Checkpoints(driver / "trials" / "00001" / "checkpoints").load() == {"number": 1}
    assert (driver / "trials" / "00001" / "samples" / "sheet").is_file()
    left = [name for name in place.files("trials") if name.endswith(".pt")]
    assert [name[:5] for name in left] == ["00001"], "the others' are forgotten"


# The whole, from the command line


def command(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("SWEEPER_STORAGE", None)
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sweeper.cli", *words],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip


def events_of(path: Path) -> list[tuple[Any, ...]]:
    query = "SELECT seq, trial, kind, step, value, decision FROM events ORDER BY seq"
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.mark.slow
def test_a_lost_head_costs_nothing_that_was_finished(tmp_path: Path) -> None:
    """The driver is killed, and its machine is gone with all that it had."""
    first = tmp_path / "first"
    first.mkdir()
    uri = str(tmp_path / "storage")
    overrides = [word for o in SMALL for word in ("--set", o)]
    space = str(SPACES / "ttur.yaml")
    process = command(first, "run", space, "--inline", "--trials=4", "--storage", uri, *overrides)
    try:
        wait_for(lambda: ended(uri, tmp_path) >= 2, 240)
    finally:
        process.kill()
        process.wait()
    copied = tmp_path / "copied"
    place = find(Storage(uri), "ttur").place
    assert fetch_ledger(place, copied)
    known = events_of(copied)
    shutil.rmtree(first)
    place.remove(["driver.json"])  # else a driver in another folder has to wait for a minute
    second = tmp_path / "second"
    second.mkdir()
    process = command(second, "resume", "ttur", "--inline", "--storage", uri)
    assert process.wait(300) == 0, (second / "output").read_text()
    after = events_of(second / "results" / "ttur" / "ledger.sqlite")
    assert after[: len(known)] == known, "what was copied is as it was"
    measured = [(trial, step) for _, trial, kind, step, *_ in after if kind == "measured"]
    assert len(measured) == len(set(measured)), "nothing counts twice"
    finished = {trial for _, trial, kind, *_ in known if kind == "ended"}
    begun = {trial for _, trial, kind, *_ in after[len(known) :] if kind == "started"}
    assert not finished & begun, "what was finished is not run again"
    assert sum(kind == "ended" for _, _, kind, *_ in after) == 4
    assert (second / "results" / "ttur" / "report.html").is_file()


def ended(uri: str, tmp_path: Path) -> int:
    with contextlib.suppress(StorageError):
        place = find(Storage(uri), "ttur").place
        if fetch_ledger(place, tmp_path / "look"):
            return sum(row[2] == "ended" for row in events_of(tmp_path / "look"))
    return 0


def test_a_sweep_with_a_storage_is_told_of_it(plan: Plan, tmp_path: Path) -> None:
    """Every job names the storage, and what it wrote is there."""
    place = place_of(str(tmp_path / "storage"), plan.id)
    put_cache(Storage(str(tmp_path / "storage")), plan)
    (tmp_path / "ttur").mkdir()
    with Ledger(tmp_path / "ttur") as ledger:
        sweep = Sweep(replace(plan, trials=1, out=tmp_path, name="ttur"), ledger, storage=place)
        InlineExecutor().run(sweep)
        assert ledger[0].state == "completed"
    names = [name.partition("/")[2] for name in Storage(place).files("trials/00000")]
    assert sum(name.startswith("checkpoints/") for name in names) == 2
    assert sum(name.startswith("samples/") for name in names) == 9
