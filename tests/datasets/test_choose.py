"""Which data set a word on the command line stands for."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sweeper.catalog.datasets.choose import source_for
from sweeper.catalog.datasets.digits import Digits
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import datasets
from sweeper.config import Pick
from sweeper.trial.loop import open_store


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file, "PNG")
    return file.getvalue()


def made(start: Path, name: str) -> Path:
    """Data of the kind that its name says."""
    path = start / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith((".zip", ".ZIP")):
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a.png", png())
    elif ".t" in name:
        with tarfile.open(path, f"w:{'gz' if name.endswith('gz') else ''}") as tar:
            info = tarfile.TarInfo("a.png")
            info.size = len(png())
            tar.addfile(info, io.BytesIO(png()))
    elif name.endswith(".parquet") or path.parent != start:
        pq.write_table(pa.table({"image": [png()]}), path)
        path = path.parent if path.parent != start else path
    else:
        path.mkdir()
        (path / "a.png").write_bytes(png())
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("photos", "folder"),
        ("set.zip", "archive"),
        ("set.ZIP", "archive"),
        ("set.tar", "archive"),
        ("set.tar.gz", "archive"),
        ("set.tgz", "archive"),
        ("set.parquet", "parquet"),
        ("hub/train-0.parquet", "parquet"),
    ],
)
def test_paths_are_told_by_what_they_hold(name: str, kind: str, tmp_path: Path) -> None:
    path = made(tmp_path, name)
    chosen = {kind: {"path": str(path)}}
    assert source_for(str(path), Path()) == chosen
    assert source_for(str(path.relative_to(tmp_path)), tmp_path) == chosen
    entry = datasets[kind]
    pick = Pick(entry, entry.knobs.model_validate({**chosen[kind], "size": 8}))
    assert len(open_store(pick, tmp_path / "cache")) == 1


def test_a_packed_store(tmp_path: Path) -> None:
    store = pack(Digits(), tmp_path)
    assert source_for(store.path.name, tmp_path) == {"packed": {"path": str(store.path)}}


def test_names_stand_for_data_sets_but_where_a_folder_has_them(tmp_path: Path) -> None:
    assert source_for("digits", tmp_path) == {"digits": {}}
    cifar = {"name": "cifar10", "root": str(tmp_path / "data")}
    assert source_for("cifar10", tmp_path) == {"torchvision": cifar}
    for name in ("digits", "cifar10"):
        (tmp_path / name).mkdir()
        assert "folder" not in source_for(name, tmp_path)
        (tmp_path / name / "a.png").write_bytes(png())
        assert source_for(name, tmp_path) == {"folder": {"path": str(tmp_path / name)}}


@pytest.mark.parametrize(
    ("word", "close"),
    [("cifar", "cifar10"), ("digts", "digits"), ("fashon_mnist", "fashion_mnist")],
)
def test_what_is_accepted_is_named(word: str, close: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"but got '{word}'; did you mean '{close}'\?") as raised:
        source_for(word, tmp_path)
    for accepted in ("digits", "cifar10", "folder of images", "zip or tar", "Parquet", "packed"):
        assert accepted in str(raised.value)
    # These need knobs, so that a word alone does not do.
    assert "two_domain" not in str(raised.value)


def test_a_file_that_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(ValueError, match=r"but got 'a\.png'"):
        source_for("a.png", tmp_path)


@pytest.mark.parametrize("word", ["x" * 300, "~nobody-by-this-name/photos", "a\0b"])
def test_what_can_be_no_path_is_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot: |null"):
        source_for(word, tmp_path)


def test_an_empty_folder_is_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert source_for("new", tmp_path) == {"folder": {"path": str(tmp_path / "new")}}
