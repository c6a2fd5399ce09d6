"""Checkpoints: whole or not at all, and the newest sound one wins."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.game import Streams, derive
from sweeper.trial import checkpoint
from sweeper.trial.checkpoint import Checkpoints


def state(images: int) -> dict[str, Any]:
    return {"images": images, "weights": torch.full((100,), float(images)), "name": "x"}


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for images in (1000, 20_000, 3000):
        checkpoints.save(images, state(images))
    return checkpoints


def loaded(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.load()
    if found is None:
        return None
    assert torch.equal(found["weights"], state(found["images"])["weights"])
    return int(found["images"])


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").load() is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(512, state(512))
    assert path.parent == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert loaded(checkpoints) == 512


def test_the_newest_two_are_kept(three: Checkpoints) -> None:
    assert [int(p.name[:12]) for p in three.paths()] == [20_000, 3000]
    assert loaded(three) == 20_000


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:500] + bytes([data[500] ^ 1]) + data[501:]


def emptied(data: bytes) -> bytes:
    return b""


def lengthened(data: bytes) -> bytes:
    return data + b"\0"


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


DAMAGES = [truncated, flipped, emptied, lengthened, zeroed]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_one_is_set_aside_for_the_one_before(three: Checkpoints, damage: Any) -> None:
    newest, before = three.paths()
    newest.write_bytes(damage(newest.read_bytes()))
    assert loaded(three) == 3000
    assert three.paths() == [before]
    assert newest.with_suffix(".bad").exists()
    before.write_bytes(damage(before.read_bytes()))
    assert three.load() is None
    assert three.paths() == []


def test_two_sound_ones_are_kept_after_one_was_set_aside(three: Checkpoints) -> None:
    newest = three.paths()[0]
    newest.write_bytes(b"")
    assert loaded(three) == 3000
    three.save(4000, state(4000))
    assert [int(p.name[:12]) for p in three.paths()] == [4000, 3000]


def test_a_write_that_fails_leaves_what_was_there(
    three: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = three.paths()

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        three.save(50_000, state(50_000))
    assert three.paths() == before
    assert loaded(three) == 20_000


def test_nothing_but_data_is_loaded(tmp_path: Path) -> None:
    class Stranger:
        pass

    checkpoints = Checkpoints(tmp_path)
    torch.save({"x": 1}, tmp_path / "notes.pt")
    assert checkpoints.load() is None
    with pytest.raises(AttributeError):
        checkpoints.save(1, {"stranger": Stranger()})
    assert checkpoints.load() is None


def test_a_checkpoint_cut_anywhere_is_set_aside(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1000, state(1000))
    newest = checkpoints.save(2000, state(2000))
    whole = newest.read_bytes()
    for length in range(0, len(whole), 97):
        newest.write_bytes(whole[:length])
        assert loaded(checkpoints) == 1000, f"{length} of {len(whole)} bytes"
    newest.write_bytes(whole)
    assert loaded(checkpoints) == 2000


def test_a_write_that_fails_leaves_no_draft(
    three: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {path.name for path in three.folder.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        three.save(50_000, state(50_000))
    assert {path.name for path in three.folder.iterdir()} == names


def test_drafts_of_the_dead_are_no_checkpoints_and_are_removed(three: Checkpoints) -> None:
    newest = three.paths()[0]
    for name in (f"{30_000:012d}-0123456789abcdef.77.tmp", newest.with_suffix(".1-aa.tmp").name):
        (three.folder / name).write_bytes(newest.read_bytes()[:1000])
    assert loaded(three) == 20_000
    three.tidy()
    assert sorted(three.folder.iterdir()) == sorted(three.paths())


def test_one_that_a_reader_may_not_rename_is_still_passed_over(
    three: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = three.paths()[0]
    newest.write_bytes(b"torn")

    def read_only(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", read_only)
    assert loaded(three) == 3000
    assert newest.exists()


def as_nobody(folder: Path, found: Any) -> None:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    state = Checkpoints(folder).load()
    found.put(None if state is None else state["images"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody without rights")
def test_one_that_may_not_be_read_is_passed_over(three: Checkpoints) -> None:
    system = Path(tempfile.gettempdir())
    for above in (three.folder, *three.folder.parents):
        if above.is_relative_to(system) and above != system:
            above.chmod(0o755)
    newest, before = three.paths()
    newest.chmod(0)
    before.chmod(0o644)
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    process = context.Process(target=as_nobody, args=(three.folder, found))
    process.start()
    assert found.get(timeout=60) == 3000
    process.join(60)
    assert three.paths() == [newest, before], "it was not damaged, so it stays"


def test_one_that_cannot_be_read_does_not_push_out_those_that_can(three: Checkpoints) -> None:
    newest = three.paths()[0]
    newest.unlink()
    newest.mkdir()
    assert loaded(three) == 3000
    for images in (4000, 5000):
        three.save(images, state(images))
    assert [int(p.name[:12]) for p in three.paths()] == [20_000, 5000, 4000]
    assert loaded(three) == 5000


def test_one_that_is_pruned_while_it_is_looked_for_is_no_fault(
    three: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, before = three.paths()
    gone.unlink()
    monkeypatch.setattr(three, "paths", lambda: [gone, before])
    assert loaded(three) == 3000


def test_who_was_cut_off_never_overwrites_or_prunes_its_successors(tmp_path: Path) -> None:
    orphan = Checkpoints(tmp_path)
    orphan.save(1000, state(1000))
    orphan.save(2000, state(2000))
    successor = Checkpoints(tmp_path)
    assert loaded(successor) == 2000
    later = [successor.save(images, state(images)) for images in (3000, 4000)]
    contents = [path.read_bytes() for path in later]
    for images in (3000, 9000, 10_000, 11_000):
        orphan.save(images, state(images) | {"name": "orphan"})
    assert [path.read_bytes() for path in later] == contents
    last = successor.save(5000, state(5000))
    assert last.exists(), "what the orphan wrote does not count against it"


def test_the_draft_of_who_was_cut_off_is_no_ones_loss(
    three: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = Checkpoints(three.folder)

    def meanwhile(descriptor: int) -> None:
        three.tidy()

    monkeypatch.setattr(checkpoint.os, "fsync", meanwhile)
    with pytest.raises(FileNotFoundError):
        orphan.save(40_000, state(40_000))
    assert loaded(three) == 20_000


def test_written_on_one_device_and_read_on_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU writes carries its name: without a map, nobody else could read it."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:1")
        path = Checkpoints(tmp_path).save(512, state(512))
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    found = Checkpoints(tmp_path).load("cpu")
    assert found is not None
    assert found["weights"].device.type == "cpu"
    assert torch.equal(found["weights"], state(512)["weights"])
    elsewhere = Checkpoints(tmp_path).load("meta")
    assert elsewhere is not None
    assert elsewhere["weights"].device.type == "meta"


def test_random_numbers_go_on_where_another_kind_of_device_left_them() -> None:
    """A GPU's generator has another state than a CPU's: what follows is new, but determined."""
    written = {"noise": torch.arange(16, dtype=torch.uint8)}
    draws = []
    for _ in range(2):
        streams = Streams(7)
        streams.load_state_dict(written)
        draws.append(torch.rand(4, generator=streams["noise"]))
    assert torch.equal(*draws)
    fresh = torch.Generator().manual_seed(derive(7, "noise"))
    assert not torch.equal(draws[0], torch.rand(4, generator=fresh)), "no draw comes twice"
    other = Streams(7)
    other.load_state_dict({"noise": torch.arange(1, 17, dtype=torch.uint8)})
    assert not torch.equal(draws[0], torch.rand(4, generator=other["noise"]))


def test_a_strangers_checkpoint_executes_nothing(three: Checkpoints, tmp_path: Path) -> None:
    """Even one whose name fits its bytes."""
    trace = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(trace),))

    for n, data in enumerate((pickled(Trap(), tmp_path), pickle.dumps(Trap(), protocol=2))):
        name = f"{90_000 + n:012d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
        (three.folder / name).write_bytes(data)
    assert loaded(three) == 20_000
    assert not trace.exists()
    assert len(list(three.folder.glob("*.bad"))) == 2


def pickled(value: object, folder: Path) -> bytes:
    path = folder / "stranger"
    torch.save({"gan": value}, path)
    return path.read_bytes()
