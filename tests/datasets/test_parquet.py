"""Images in Parquet files."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from sweeper.catalog.datasets.parquet import Parquet
from sweeper.catalog.datasets.store import pack


def png(seed: int = 0) -> bytes:
    file = io.BytesIO()
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def array(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1)


def written(path: Path, columns: dict[str, Any], names: list[str] | None = None) -> Path:
    """A file with a row group for every four rows."""
    table = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        noted = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": noted})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=4)
    return path


def hub(n: int, first: int = 0) -> dict[str, Any]:
    images = [{"bytes": png(first + i), "path": f"{i}.png"} for i in range(n)]
    return {"image": images, "label": [(first + i) % 3 for i in range(n)]}


def source(path: Path, **knobs: Any) -> Parquet:
    return Parquet(path=str(path), size=8, **knobs)


def test_files_as_the_hub_has_them_in_any_order(tmp_path: Path) -> None:
    names = ["cat", "dog", "emu", "fox"]
    written(tmp_path / "data" / "train-00000-of-00002.parquet", hub(10), names)
    written(tmp_path / "data" / "train-00001-of-00002.parquet", hub(7, 10), names)
    written(tmp_path / "data" / "test-00000-of-00001.parquet", hub(5, 90), names)
    data = source(tmp_path, files="train-*")
    assert len(data) == 17
    assert data.classes == tuple(names)
    for i in np.random.default_rng(0).permutation(17).tolist():
        assert np.array_equal(data[i].image, array(png(i)))
        assert data[i].label == i % 3
    assert np.array_equal(pickle.loads(pickle.dumps(data))[16].image, array(png(16)))
    assert len(source(tmp_path)) == 22
    for beyond in (17, -1):
        with pytest.raises(IndexError):
            data[beyond]


def test_a_column_of_bytes_and_one_of_words(tmp_path: Path) -> None:
    columns = {"id": [7, 8, 9], "jpg": [png(i) for i in range(3)], "kind": ["b", "a", "b"]}
    path = written(tmp_path / "set.parquet", columns)
    assert source(path).classes == ()
    assert source(path)[1].label is None
    data = source(path, label_column="kind")
    assert (data.name, data.classes) == ("set", ("a", "b"))
    assert [data[i].label for i in range(3)] == [1, 0, 1]
    assert source(path).fingerprint() != data.fingerprint()


def test_numbers_without_names_are_their_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"image": [png()] * 3, "label": [40, -1, 40]})
    assert source(path).classes == ("-1", "40")
    assert [example.label for example in map(source(path).__getitem__, range(3))] == [1, 0, 1]
    # The Hub's names do not go with labels that are beyond them.
    path = written(tmp_path / "b.parquet", {"image": [png()] * 2, "label": [0, 9]}, ["x"])
    assert source(path).classes == ("0", "9")


def test_only_the_row_group_that_is_asked_for_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, groups = written(tmp_path / "a.parquet", hub(20)), list[int]()
    data, real = source(path), pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, **more: Any) -> pa.Table:
        groups.append(group)
        return real(file, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    data[0]
    for i in (13, 14, 12, 15):
        data[i]
    assert groups == [0, 3]


@pytest.mark.parametrize(
    ("columns", "knobs", "says"),
    [
        (
            {"image": [b""], "label": [0]},
            {"image_column": "imgae"},
            r"encoded images \(image; did you mean 'image'\?\), but .*a\.parquet has no 'imgae'",
        ),
        (
            {"image": [b""], "thumb": [b""]},
            {},
            r"encoded images \(image, thumb\), but none is named, and .* has not just one",
        ),
        ({"x": [1.5]}, {}, r"encoded images \(\), but none is named"),
        (
            {"image": [b""], "label": [1]},
            {"image_column": "label"},
            r"but 'label' of .*a\.parquet is none",
        ),
        (
            {"image": [b""], "score": [0.5]},
            {"label_column": "score"},
            r"label_column names a column of integers or text \(\), but 'score' of .* is none",
        ),
        (
            {"image": [png(), png()], "label": [1, None]},
            {},
            r"every row has a label, but .*a\.parquet: row 1 has no label",
        ),
    ],
)
def test_columns_of_the_wrong_kind_are_named(
    columns: dict[str, Any], knobs: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.parquet", columns)
    with pytest.raises(ValueError, match=says):
        pack(source(path, **knobs), tmp_path / "out")


@pytest.mark.parametrize("bad", [b"", b"no image", None, {"bytes": None, "path": "/etc/passwd"}])
def test_a_broken_row_is_named(bad: Any, tmp_path: Path) -> None:
    good = {"bytes": png(), "path": None} if isinstance(bad, dict) else png()
    path = written(tmp_path / "a.parquet", {"image": [*[good] * 5, bad]})
    data = source(path)
    assert data[4].image.shape == (3, 8, 8)
    with pytest.raises(ValueError, match=rf"can be read, but {path}: row 5 cannot: "):
        data[5]


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"PAR1" * 20, b"\x80\x04c__main__\n"])
def test_what_is_no_parquet_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.parquet"
    path.parent.mkdir()
    if content is None:
        with pytest.raises(ValueError, match=r"match '\*' and \.parquet, but .*in has none"):
            source(path.parent).fingerprint()
        return
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"whole Parquet files, but {path}: "):
        source(path.parent).fingerprint()


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"image": pa.array([], pa.binary())})
    with pytest.raises(ValueError, match=r"has rows, but .*a\.parquet has none"):
        pack(source(path), tmp_path / "out")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=some.floats(0, 2),
    changes=some.lists(some.tuples(some.floats(0, 1), some.integers(0, 255)), max_size=4),
    n=some.integers(0, 10**9),
)
def test_hostile_bytes_are_read_or_refused_by_name(
    tmp_path: Path, cut: float, changes: list[tuple[float, int]], n: int
) -> None:
    path = written(tmp_path / f"{n}.parquet", hub(6), ["a", "b", "c"])
    data = bytearray(path.read_bytes())
    for where, value in changes:
        data[int(where * (len(data) - 1))] = value
    path.write_bytes(bytes(data[: int(cut * len(data))]))
    refusal, shapes = "", set()
    try:
        found = source(path)
        shapes = {found[i].image.shape for i in range(min(len(found), 10))}
    except ValueError as error:
        refusal = str(error)
    assert refusal == "" or str(path) in refusal
    assert shapes <= {(3, 8, 8)}
    path.unlink()
