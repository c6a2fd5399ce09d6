"""Packing: parallel, resumable, atomic; and what a store says when it is damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from typer.testing import CliRunner

from sweeper.catalog.datasets import crew, draft
from sweeper.catalog.datasets.check import check
from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.records import PIECE, Field, key
from sweeper.catalog.datasets.store import Store, pack
from sweeper.cli import app


class Pairs(Synthetic):
    """Examples with everything that an example may hold, from their index."""

    name = "pairs"
    classes = ("even", "odd")
    unpaired = True
    recipe: ClassVar = {"resize": "none"}

    def __init__(self, n: int = 3 * PIECE + 7, side: int = 6, seed: int = 0) -> None:
        self.n, self.side, self.seed = n, side, seed

    def fingerprint(self) -> str:
        return f"{self.n} {self.side} {self.seed}"

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Example:
        drawn = np.random.default_rng((self.seed, index))
        image, source, style = drawn.integers(0, 256, (3, 3, self.side, self.side), np.uint8)
        mask = (image[:1] > 127) * np.uint8(255)
        return Example(image, index % 2, source, mask, style)


class Stopping(Pairs):
    """The same, but read by somebody who gives up at an example."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        super().__init__()
        self.at, self.error = at, error

    def __getitem__(self, index: int) -> Example:
        if index == self.at:
            raise self.error(f"at {index}")
        return super().__getitem__(index)


def content(store: Store) -> list[torch.Tensor]:
    labels = store.labels
    assert labels is not None
    return [store.all(name) for name in store.meta.fields] + [labels]


@pytest.mark.parametrize("codec", ["raw", "png", "webp"])
def test_everything_comes_back_whatever_the_codec(codec: str, tmp_path: Path) -> None:
    source = Pairs(n=PIECE + 3)
    store = pack(source, tmp_path, codec=codec)
    assert list(store.meta.fields) == ["image", "mask", "source", "style"]
    assert {field.codec for field in store.meta.fields.values()} == {codec}
    assert (store.meta.unpaired, store.meta.recipe) == (True, {"resize": "none"})
    for name in store.meta.fields:
        expected = np.stack([source[i].arrays()[name] for i in range(len(source))])
        assert np.array_equal(store.all(name).numpy(), expected)
    assert store.labels is not None
    assert store.labels.tolist() == [i % 2 for i in range(PIECE + 3)]


levels = st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape)
)


@pytest.mark.parametrize("codec", ["png", "webp"])
@given(levels)
@settings(deadline=None, max_examples=60)
def test_an_encoded_image_has_lost_nothing(codec: str, image: np.ndarray) -> None:
    field = Field(image.shape, "uint8", codec)  # type: ignore[arg-type]
    assert np.array_equal(field.array(memoryview(field.value(image))), image)


def test_the_digest_is_the_same_however_it_was_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {pack(Pairs(), tmp_path / codec, codec=codec).meta.digest for codec in ("raw", "png")}
    with pytest.raises(KeyboardInterrupt):
        pack(Stopping(2 * PIECE + 1, KeyboardInterrupt), tmp_path / "pieces")
    seen = list[int]()
    pieces = pack(Pairs(), tmp_path / "pieces", lambda done, total: seen.append(done))
    assert seen == [3 * PIECE, 3 * PIECE + 7]  # two pieces were there
    monkeypatch.setattr(crew, "LONG", 0.0)
    monkeypatch.setattr(crew, "LOOK", 0.0)
    monkeypatch.setattr(crew, "cpus", lambda: 2)
    parallel = pack(Pairs(), tmp_path / "parallel")
    digests |= {pieces.meta.digest, parallel.meta.digest}
    assert len(digests) == 1
    assert pack(Pairs(seed=1), tmp_path / "other").meta.digest not in digests
    for a, b in zip(content(parallel), content(pieces), strict=True):
        assert torch.equal(a, b)


def test_a_draft_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    class Changed(Stopping):
        def fingerprint(self) -> str:
            return "before the files changed"

    path = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        draft.write(Changed(2 * PIECE, KeyboardInterrupt), path, "raw", lambda *_: None)
    assert not path.exists()
    assert [p.name for p in tmp_path.iterdir()] == [".store.packing"]
    seen = list[int]()
    draft.write(Pairs(), path, "raw", lambda done, total: seen.append(done))
    assert seen[0] == PIECE
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    assert Store(path).meta.digest == pack(Pairs(), tmp_path / "c").meta.digest


def test_a_draft_that_was_torn_is_begun_anew(tmp_path: Path) -> None:
    torn = tmp_path / ".store.packing"
    torn.mkdir()
    (torn / "data.mdb").write_bytes(b"half of a page")
    draft.write(Pairs(), tmp_path / "store", "raw", lambda *_: None)
    assert Store(tmp_path / "store").meta.digest == pack(Pairs(), tmp_path / "c").meta.digest


@pytest.mark.parametrize("parallel", [False, True])
def test_what_cannot_be_read_is_told_in_its_own_words(
    parallel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if parallel:
        monkeypatch.setattr(crew, "LONG", 0.0)
        monkeypatch.setattr(crew, "LOOK", 0.0)
        monkeypatch.setattr(crew, "cpus", lambda: 2)
    with pytest.raises(ValueError, match=f"^at {PIECE + 1}$"):
        pack(Stopping(PIECE + 1, ValueError), tmp_path)
    assert list(tmp_path.iterdir()) == []


class Deadly(Pairs):
    """Examples of which one ends the process that reads it, if it is one of several."""

    def __getitem__(self, index: int) -> Example:
        if index == 2 * PIECE and crew.number() >= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_process_that_dies_over_an_example_is_told_of_and_the_draft_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(crew, "LONG", 0.0)
        patch.setattr(crew, "LOOK", 0.0)
        patch.setattr(crew, "cpus", lambda: 2)
        with pytest.raises(
            ChildProcessError, match=r"a process that reads data .*(killed by|exited)"
        ):
            pack(Deadly(), tmp_path)
    assert [p.name.endswith(".packing") for p in tmp_path.iterdir()] == [True]
    assert pack(Deadly(), tmp_path).meta.digest == pack(Pairs(), tmp_path / "b").meta.digest


def shot_while_it_hands_over(part: int) -> bytes:
    """More than a pipe holds, from a process that has not written it all when it is killed."""
    if part == 1:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return bytes(1 << 22)


def test_a_process_that_dies_over_half_a_message_is_told_of() -> None:
    before = set(multiprocessing.active_children())
    made = crew.together(shot_while_it_hands_over, range(6), 2)
    assert len(next(made)) == 1 << 22
    time.sleep(1.0)
    with pytest.raises(ChildProcessError, match=r"a process .* was killed by SIGKILL"):
        next(made)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize(
    ("odd", "law"),
    [
        (Example(np.zeros((3, 6, 6), np.uint8), 0), "example 5 has nothing for its source"),
        (Example(np.zeros((1, 6, 6), np.uint8), 0), r"example 5 has uint8 \(1, 6, 6\) for its im"),
        (None, "a label is one of 0 to 1, but that of example 5 is 2"),
    ],
)
def test_examples_are_alike(odd: Example | None, law: str, tmp_path: Path) -> None:
    class Odd(Pairs):
        def __getitem__(self, index: int) -> Example:
            usual = super().__getitem__(index)
            if index != 5:
                return usual
            return odd or Example(usual.image, 2, usual.source, usual.mask, usual.style)

    with pytest.raises(ValueError, match=law):
        pack(Odd(), tmp_path)


def test_the_file_grows_with_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "FIRST_SIZE", 1 << 16)
    store = pack(Pairs(side=32), tmp_path)
    assert store.meta.bytes > 20 << 16
    assert torch.equal(store.all("source")[390], torch.from_numpy(Pairs(side=32)[390].source))


def test_a_disk_that_is_full_is_told_of_and_the_draft_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Pairs):
        name = "full"

        def __getitem__(self, index: int) -> Example:
            if index == 2 * PIECE:  # from here on, files may grow no more
                size = next(tmp_path.glob(".*/data.mdb")).stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            return super().__getitem__(index)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match=r"a disk with space for it, but .*data.mdb"):
            pack(Full(side=32), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    seen = list[int]()
    monkeypatch.setattr(Full, "__getitem__", Pairs.__getitem__)
    assert len(pack(Full(side=32), tmp_path, lambda done, total: seen.append(done))) == 391
    assert seen[0] == 3 * PIECE


def test_a_format_before_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = pack(Pairs(n=3), tmp_path)
    plain = json.loads((store.path / "meta.json").read_text())
    del plain["format"]
    (store.path / "meta.json").write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=r"format 1: .* `sweeper data pack SOURCE -o STORE`"):
        Store(store.path)


def damaged(store: Store, record: bytes, field: Field, index: int) -> None:
    """Change one byte of a record, where it lies in the file."""
    value = field.value(store.fetch([index], "image")[0].numpy())
    file = store.path / "data.mdb"
    data = bytearray(file.read_bytes())
    at = data.index(value)
    data[at + len(value) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("codec", ["raw", "png"])
def test_a_damaged_record_is_named(codec: str, tmp_path: Path) -> None:
    store = pack(Pairs(n=PIECE + 9, side=40), tmp_path, codec=codec)
    record = key("image", PIECE + 4)
    damaged(store, record, store.meta.fields["image"], PIECE + 4)
    broken = Store(store.path)
    with pytest.raises(ValueError, match="image/0000000132 of"):
        broken.fetch([PIECE + 4], "image")
    assert len(broken.fetch([PIECE + 3], "image")) == 1
    assert [line.partition(":")[0] for line in check(store.path)] == ["image/0000000132"]


def test_a_header_that_was_changed_is_found(tmp_path: Path) -> None:
    store = pack(Pairs(n=5), tmp_path)
    plain = json.loads((store.path / "meta.json").read_text())
    plain["class_names"] = ["odd", "even"]
    (store.path / "meta.json").write_text(json.dumps(plain))
    assert [line.partition(" ")[0] for line in check(store.path)] == ["meta.json"]


def test_a_truncated_store_is_refused_and_its_first_lost_record_named(tmp_path: Path) -> None:
    path = pack(Pairs(n=PIECE, side=24), tmp_path / "a").path
    file = path / "data.mdb"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"data.mdb has {len(data):,} bytes, but only"):
        Store(path).fetch([0], "image")
    said = list(check(path))
    assert said[0] == f"{file} has {len(data) // 2:,} bytes of {len(data):,}"
    assert "reading it ends the process" in said[-1]
    assert said[-1].partition("/")[0] in ("image", "mask", "source", "style", "label")


def _reads_all(path: Path, expected: str) -> None:
    store = Store(path)
    if str(float(store.all().double().sum())) != expected:
        os._exit(1)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes_that_are_forked_or_spawned_read_a_store_that_is_open_here(
    method: str, tmp_path: Path
) -> None:
    store = pack(Pairs(), tmp_path)
    expected = str(float(store.fetch(range(len(store)), "image").double().sum()))
    context = multiprocessing.get_context(method)
    readers = [context.Process(target=_reads_all, args=(store.path, expected)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert [reader.exitcode for reader in readers] == [0, 0]


def test_reading_opens_nothing_for_writing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    store = pack(Pairs(), tmp_path)
    before = sorted(p.name for p in store.path.iterdir())
    store.fetch([1], "image")
    assert sorted(p.name for p in store.path.iterdir()) == before == ["data.mdb", "meta.json"]
    modes = [
        int(line.split()[1], 8) & os.O_ACCMODE
        for n in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{n}")
        and os.readlink(f"/proc/self/fd/{n}") == str(store.path / "data.mdb")
        for line in Path(f"/proc/self/fdinfo/{n}").read_text().splitlines()
        if line.startswith("flags")
    ]
    assert modes
    assert set(modes) == {os.O_RDONLY}


def sweeper(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sweeper.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def pack_there(folder: Path, store: Path) -> None:
    with sweeper("data", "pack", folder, "-o", store) as process:
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said


def test_the_commands(tmp_path: Path) -> None:
    run, store = CliRunner().invoke, tmp_path / "store"
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "one.png")
    packed = run(app, ["data", "pack", "digits", "-o", str(store), "--codec", "png"])
    assert packed.exit_code == 0, packed.output
    assert "1,797 examples of 1 x 8 x 8 in 10 classes" in packed.output
    assert "uint8 1 x 8 x 8, png" in run(app, ["data", "info", str(store)]).output
    described = json.loads(run(app, ["data", "info", str(store), "--json"]).output)
    assert described["digest"] == Store(store).meta.digest
    checked = run(app, ["data", "check", str(store)])
    assert (checked.exit_code, "every record is what was packed" in checked.output) == (0, True)
    again = run(app, ["data", "pack", "digits", "-o", str(store), "--codec", "png"])
    assert again.exit_code == 0
    other = run(app, ["data", "pack", "ring", "-o", str(store)])
    assert "is a store of other data" in str(other.exception)
    for wrong, law in (
        (["digit", "-o", "x"], "did you mean 'digits'"),
        (["digits", "-o", "x", "--size", "8"], "digits has no --size"),
        (["digits", "-o", "x", "--codec", "jpg"], "--codec is raw, png, webp, but got 'jpg'"),
        (["digits", "-o", str(tmp_path)], "exists"),
        ([str(store), "-o", "x"], "is a store"),
        ([str(tmp_path / "images"), "-o", "x", "--resize", "crp"], "did you mean 'crop'"),
    ):
        refused = run(app, ["data", "pack", *wrong])
        assert refused.exit_code == 1
        assert law in str(refused.exception), refused.output


@pytest.mark.slow
def test_50000_images_packed_by_a_command_that_is_killed_twice(tmp_path: Path) -> None:
    count = int(os.environ.get("SWEEPER_TEST_IMAGES", "6000"))
    folder, chance = tmp_path / "images", random.Random(5)
    folder.mkdir()
    base = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for i in range(count):
        shifted = np.roll(base, (i, i // 40), (0, 1))[:32, :32] ^ np.uint8(i % 251)
        Image.fromarray(shifted).save(folder / f"{i:06d}.png", compress_level=0)
    plain, killed = tmp_path / "plain", tmp_path / "killed"
    pack_there(folder, plain)
    done = [0]
    for _ in range(2):
        with sweeper("data", "pack", folder, "-o", killed) as process:
            assert process.stdout is not None
            # At a random moment after it has packed something that the one before had not.
            for line in process.stdout:
                packed = int(line.split()[1].replace(",", "")) if "packing: " in line else 0
                if packed > done[-1] + chance.uniform(0, 0.3) * count:
                    break
            else:
                pytest.fail("it ended before it was killed")
            done.append(packed)
            time.sleep(chance.uniform(0, 0.02))
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        assert not killed.exists()
    pack_there(folder, killed)
    assert Store(killed).meta.digest == Store(plain).meta.digest
    assert len(Store(killed)) == count
    assert not list(tmp_path.glob(".*"))
