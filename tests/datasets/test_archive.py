"""Images in zip and tar files."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from sweeper.catalog.datasets.archive import Archive
from sweeper.catalog.datasets.folder import Folder
from sweeper.catalog.datasets.store import pack

KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")
Files = Mapping[str, bytes]


def png(seed: int = 0, size: int = 8) -> bytes:
    file = io.BytesIO()
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def archived(path: Path, files: Files) -> Path:
    """An archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in files.items():
                zipped.writestr(name, data)
        return path
    packing = path.suffix.lstrip(".").replace("tar", "")
    with tarfile.open(path, f"w:{packing}") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_an_archive_holds_what_its_folder_does(kind: str, tmp_path: Path) -> None:
    files = {f"photos/{c}/{i}.png": png(seed=ord(c) + i) for c in "abc" for i in range(3)}
    noise = {"photos/notes.txt": b"none", "__MACOSX/a/._0.png": b"fork", "photos/.x.png": b""}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    archive = Archive(path=str(archived(tmp_path / f"set.{kind}", files | noise)), size=8)
    folder = Folder(path=str(tmp_path / "photos"), size=8)
    assert archive.name == "set"
    assert archive.classes == folder.classes == ("a", "b", "c")
    assert len(archive) == len(folder) == 9
    for found, expected in zip(archive, folder, strict=True):  # type: ignore[call-overload]
        assert found.label == expected.label
        assert np.array_equal(found.image, expected.image)
    before = sorted(tmp_path.rglob("*"))
    pack(archive, tmp_path / "out")
    assert [p for p in sorted(tmp_path.rglob("*")) if tmp_path / "out" not in (p, *p.parents)] == (
        before
    )


@every_kind
def test_images_are_read_in_any_order(kind: str, tmp_path: Path) -> None:
    files = {f"{i}.png": png(i) for i in range(6)}
    archive = Archive(path=str(archived(tmp_path / f"set.{kind}", files)), size=8)
    assert archive.classes == ()
    for i in (5, 0, 3, 3, 1, 4, 2):
        expected = np.asarray(Image.open(io.BytesIO(files[f"{i}.png"]))).transpose(2, 0, 1)
        assert np.array_equal(archive[i].image, expected)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
def test_labels_are_noted_as_stylegans_tools_do(kind: str, tmp_path: Path) -> None:
    names = [f"{i // 2:05d}/img{i:08d}.png" for i in range(6)]
    files = {name: png(i) for i, name in enumerate(names)}

    def made(note: object) -> Folder | Archive:
        noted = files | {"dataset.json": json.dumps(note).encode()}
        if kind != "folder":
            return Archive(path=str(archived(tmp_path / f"set.{kind}", noted)), size=8)
        for name, data in noted.items():
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_bytes(data)
        return Folder(path=str(tmp_path / "set"), size=8)

    labels = [2, 0, 0, 1, 2, 2]
    data = made({"labels": [list(pair) for pair in zip(names, labels, strict=True)][::-1]})
    assert data.classes == ("0", "1", "2")
    assert [data[i].label for i in range(6)] == labels
    # The folders are no classes: a thousand images lie in each.
    assert made({"labels": None}).classes == ()
    assert made({"labels": []})[0].label is None
    wrong = [
        {"labels": [[names[0], 1]]},
        {"labels": [[name, [0.5]] for name in names]},
        {"labels": [[name, -1] for name in names]},
        {"labels": 7},
        ["labels"],
    ]
    for note in wrong:
        with pytest.raises(ValueError, match=r"dataset\.json") as raised:
            pack(made(note), tmp_path / "out")
        assert str(tmp_path / "set") in str(raised.value)


def test_a_note_of_labels_made_to_break_its_reader_is_refused(tmp_path: Path) -> None:
    files = {"0/a.png": png(), "dataset.json": b"[" * 100_000}
    path = archived(tmp_path / "set.zip", files)
    with pytest.raises(ValueError, match=r"dataset\.json has .*that of .*set\.zip: RecursionError"):
        pack(Archive(path=str(path)), tmp_path / "out")
    data = bytearray(path.read_bytes())
    data[data.index(b"dataset.json") + 20] ^= 255
    path.write_bytes(bytes(data))
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match=r"whole .* but .*set\.zip: dataset\.json: "):
        pack(Archive(path=str(path)), tmp_path / "out")


def digest(archive: Archive) -> list[int]:
    return [int(archive[i].image.astype(np.int64).sum()) for i in (3, 0, 2, 1)]


# Python 3.12 warns of any fork beside threads, of which torch has some; these touch none of it.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "method"),
    [("zip", "fork"), ("tar.gz", "fork"), pytest.param("tar.gz", "spawn", marks=pytest.mark.slow)],
)
def test_an_open_archive_is_read_by_other_processes(kind: str, method: str, tmp_path: Path) -> None:
    files = {f"{i}.png": png(i, size=64) for i in range(4)}
    archive = Archive(path=str(archived(tmp_path / f"set.{kind}", files)), size=64)
    here = digest(archive)
    assert digest(pickle.loads(pickle.dumps(archive))) == here
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(digest, [archive] * 6, chunksize=1) == [here] * 6


HOSTILE = [
    "../evil.png",
    "a/../../evil.png",
    "/evil.png",
    "..\\evil.png",
    "C:\\evil.png",
    "C:a.png",
]


@every_kind
@pytest.mark.parametrize("name", HOSTILE)
def test_members_outside_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    path = archived(tmp_path / f"set.{kind}", {"a.png": png(), name: png(1)})
    with pytest.raises(ValueError, match="lies outside") as raised:
        pack(Archive(path=str(path), size=8), tmp_path / "out")
    assert repr(name) in str(raised.value)
    assert str(path) in str(raised.value)
    assert [p.name for p in tmp_path.rglob("*")] == [path.name]
    assert not (tmp_path.parent / "evil.png").exists()


@pytest.mark.parametrize(
    "type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(type: bytes, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = type, str(secret)
        tar.addfile(info)
    with pytest.raises(ValueError, match=r"'a\.png' of .*set\.tar is a link or a device"):
        Archive(path=str(tmp_path / "set.tar")).fingerprint()


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as zipped:
        info = zipfile.ZipInfo("a.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        zipped.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match=r"'a\.png' of .*set\.zip is a link or a device"):
        Archive(path=str(tmp_path / "set.zip")).fingerprint()


@every_kind
def test_a_broken_image_is_named_by_archive_and_member(kind: str, tmp_path: Path) -> None:
    files = {"x/a.png": png(), "x/b.png": b"no image"}
    path = archived(tmp_path / f"set.{kind}", files)
    archive = Archive(path=str(path), size=8)
    assert archive[0].image.shape == (3, 8, 8)
    with pytest.raises(ValueError, match=rf"{path}: x/b\.png cannot: "):
        archive[1]


@every_kind
def test_an_archive_without_images_is_refused(kind: str, tmp_path: Path) -> None:
    path = archived(tmp_path / f"set.{kind}", {"notes.txt": b""})
    with pytest.raises(ValueError, match=rf"an archive holds images .* but {path} holds none"):
        Archive(path=str(path)).fingerprint()


@every_kind
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=some.floats(0, 2),
    changes=some.lists(some.tuples(some.floats(0, 1), some.integers(0, 255)), max_size=4),
    n=some.integers(0, 10**9),
)
def test_a_damaged_archive_is_read_or_refused_by_name(
    kind: str, tmp_path: Path, cut: float, changes: list[tuple[float, int]], n: int
) -> None:
    path = archived(tmp_path / f"set-{n}.{kind}", {f"x/{i}.png": png(i) for i in range(3)})
    data = bytearray(path.read_bytes())
    for where, value in changes:
        data[int(where * (len(data) - 1))] = value
    path.write_bytes(bytes(data[: int(cut * len(data))]))
    archive = Archive(path=str(path), size=8)
    refusal, shapes = "", set()
    try:
        shapes = {archive[i].image.shape for i in range(len(archive))}
    except ValueError as error:
        refusal = str(error)
    assert refusal == "" or str(path) in refusal
    assert shapes <= {(3, 8, 8)}
    path.unlink()


def test_a_tar_that_is_damaged_in_the_middle_is_not_taken_for_a_short_one(tmp_path: Path) -> None:
    path = archived(tmp_path / "set.tar", {f"{i}.png": png(i) for i in range(3)})
    data = bytearray(path.read_bytes())
    second = data.index(b"1.png")
    data[second : second + 3] = b"\xff\xff\xff"
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=rf"set\.tar: it is damaged at byte {second}"):
        len(Archive(path=str(path)))


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = archived(tmp_path / "set.zip", {"a.png": png()})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"set\.zip: a\.png cannot: .*encrypted"):
        Archive(path=str(path), size=8)[0]


def test_a_member_made_to_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.catalog.datasets.archive.LARGEST", 1 << 20)
    path = archived(tmp_path / "set.zip", {"a.png": bytes(1 + (1 << 20))})
    assert path.stat().st_size < 1 << 12
    with pytest.raises(ValueError, match=r"a\.png cannot: a member has at most 1048576 bytes"):
        Archive(path=str(path))[0]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("x")])
def test_what_is_no_archive_is_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    make(path)
    with pytest.raises(ValueError, match=rf"an archive is a zip or tar file.* but {path}: "):
        Archive(path=str(path)).fingerprint()


def test_a_changed_archive_is_packed_anew(tmp_path: Path) -> None:
    path = archived(tmp_path / "set.zip", {"a.png": png()})
    first = pack(Archive(path=str(path), size=8), tmp_path / "out")
    archived(path, {"a.png": png(), "b.png": png(1)})
    os.utime(path, ns=(1, 1))
    second = pack(Archive(path=str(path), size=8), tmp_path / "out")
    assert (len(first), len(second)) == (1, 2)
