"""Checkpoints: whole or not at all, and the newest sound one wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

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


@pytest.mark.parametrize("damage", [truncated, flipped, emptied], ids=lambda f: f.__name__)
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
