"""Parquet files with images in them, as the Hub has them."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import ImageFiles
from sweeper.catalog.datasets.images import Resize, read
from sweeper.catalog.families import datasets
from sweeper.registry import nearest


@dataclass(frozen=True)
class Part:
    """One file: how many rows its row groups have, and what its columns are."""

    file: Path
    groups: tuple[int, ...]
    columns: dict[str, str]
    features: dict[str, Any]


@datasets.register(provides={"images"})
class Parquet(ImageFiles):
    """A Parquet file, or a folder of some, with a column of encoded images and one of labels.

    ``image_column`` is binary, or the Hub's struct of bytes and path; by default the only such
    column. ``label_column`` holds integers or text; by default ``label``, if there is one. Of a
    folder, those ``files`` are read whose names match the pattern, such as ``train-*``. Images are
    prepared as those of ``folder``. Raises ValueError when columns or rows are not of this kind.
    """

    def __init__(
        self,
        *,
        path: str,
        size: Annotated[int, Ge(4)] = 32,
        channels: Literal[1, 3] = 3,
        resize: Resize = "crop",
        image_column: str | None = None,
        label_column: str | None = None,
        files: str = "*",
    ) -> None:
        super().__init__(path=path, size=size, channels=channels, resize=resize)
        self.asked_image, self.asked_label, self.pattern = image_column, label_column, files
        self._group: tuple[Path, int, Any] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_group": None}

    @cached_property
    def files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        below = sorted(self.path.rglob("*.parquet"))
        found = [file for file in below if fnmatch(file.name, self.pattern)]
        if not found:
            law = "Parquet data is a file, or a folder of files that match"
            raise ValueError(f"{law} {self.pattern!r} and .parquet, but {self.path} has none")
        return found

    @cached_property
    def parts(self) -> list[Part]:
        return [part_of(file) for file in self.files]

    @cached_property
    def image_column(self) -> str:
        columns = self.parts[0].columns
        images = [name for name, kind in columns.items() if kind == "image"]
        name = self.asked_image
        if name is None and len(images) == 1:
            name = images[0]
        for part in self.parts:
            if name is None or part.columns.get(name) != "image":
                law = "image_column names a column of encoded images"
                raise ValueError(f"{law}{meant(name, images)}, but {described(part, name)}")
        assert name is not None
        return name

    @cached_property
    def label_column(self) -> str | None:
        columns = self.parts[0].columns
        name = self.asked_label
        if name is None and columns.get("label") == "label":
            name = "label"
        for part in self.parts:
            if name is not None and part.columns.get(name) != "label":
                labels = [n for n, kind in columns.items() if kind == "label"]
                law = "label_column names a column of integers or text"
                raise ValueError(f"{law}{meant(name, labels)}, but {described(part, name)}")
        return name

    @cached_property
    def _labelled(self) -> tuple[tuple[str, ...], np.ndarray]:
        """The classes, and the class of every row."""
        if self.label_column is None:
            return (), np.empty(0, np.int64)
        values = np.concatenate([column_of(part, self.label_column) for part in self.parts])
        names = names_of(self.parts[0], self.label_column)
        if values.dtype.kind == "i" and values.min() >= 0 and values.max() < len(names):
            return names, values
        known, labels = np.unique(values, return_inverse=True)
        return tuple(map(str, known)), labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labelled[0]

    @cached_property
    def _ends(self) -> list[int]:
        """How many rows there are up to the end of each file."""
        return list(accumulate(sum(part.groups) for part in self.parts))

    def fingerprint(self) -> str:
        return self._digest(self.files, self.image_column, self.label_column)

    def __len__(self) -> int:
        if not self._ends[-1]:
            raise ValueError(f"Parquet data has rows, but {self.path} has none")
        return self._ends[-1]

    def _place(self, index: int) -> tuple[Part, int]:
        """The file that an example is in, and its row there. Raises IndexError."""
        if not 0 <= index < self._ends[-1]:
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        part = self.parts[number]
        return part, index - self._ends[number] + sum(part.groups)

    def _where(self, index: int) -> str:
        part, row = self._place(index)
        return f"{part.file}: row {row}"

    def _read(self, index: int) -> Example:
        part, row = self._place(index)
        image = read(lambda: self._bytes(part, row), self._where(index), self.preparation.image)
        return Example(image, int(self._labelled[1][index]) if self.classes else None)

    def _bytes(self, part: Part, row: int) -> bytes:
        ends = list(accumulate(part.groups))
        group = bisect_right(ends, row)
        value = self._images(part, group)[row - ends[group] + part.groups[group]].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            raise ValueError("there are no bytes in this row")
        return bytes(data)

    def _images(self, part: Part, group: int) -> Any:
        """The images of a row group, of which the last is kept."""
        import pyarrow.parquet as pq

        if self._group is None or self._group[:2] != (part.file, group):
            with pq.ParquetFile(part.file) as file:
                table = file.read_row_group(group, columns=[self.image_column], use_threads=False)
            self._group = (part.file, group, table.column(self.image_column))
        return self._group[2]


def part_of(file: Path) -> Part:
    """What a file holds. Raises ValueError when it is no Parquet file."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            schema, meta = opened.schema_arrow, opened.metadata
            groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
            columns = {field.name: kind_of(field.type) for field in schema}
            noted = dict(schema.metadata or {}).get(b"huggingface", b"{}")
    except Exception as error:  # whatever reading bytes raises that were made to break it
        law = "Parquet data is whole Parquet files"
        raise ValueError(f"{law}, but {file}: {error or type(error).__name__}") from error
    try:
        features = json.loads(noted)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        features = {}
    return Part(file, groups, columns, features if isinstance(features, dict) else {})


def kind_of(type: Any) -> str:
    """``image`` or ``label`` if a column of some type can be one, else the type's name."""
    from pyarrow import types

    def binary(type: Any) -> bool:
        return bool(types.is_binary(type) or types.is_large_binary(type))

    if binary(type):
        return "image"
    if types.is_struct(type) and any(f.name == "bytes" and binary(f.type) for f in type):
        return "image"
    if types.is_integer(type) or types.is_string(type) or types.is_large_string(type):
        return "label"
    return str(type)


def column_of(part: Part, name: str) -> np.ndarray:
    """A column of labels. Raises ValueError, naming the row, where one is missing."""
    import pyarrow.parquet as pq

    try:
        column = pq.read_table(part.file, columns=[name], use_threads=False, partitioning=None)[
            name
        ]
    except Exception as error:  # whatever reading bytes raises that were made to break it
        law = "Parquet data is whole Parquet files"
        raise ValueError(f"{law}, but {part.file}: {error or type(error).__name__}") from error
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"every row has a label, but {part.file}: row {row} has no {name}")
    values = np.asarray(column.to_pylist())
    return values.astype(np.int64) if values.dtype.kind in "iu" else values.astype(str)


def names_of(part: Part, column: str) -> tuple[str, ...]:
    """The names of classes that the Hub has written into a file; empty where it has not."""
    feature = part.features.get(column)
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()


def meant(name: str | None, known: list[str]) -> str:
    """A hint at a column."""
    close = nearest(name or "", known)
    return f" ({', '.join(known)}{f'; did you mean {close!r}?' if close else ''})"


def described(part: Part, name: str | None) -> str:
    """What is wrong with a column of a file."""
    if name is None:
        return f"none is named, and {part.file} has not just one"
    if name not in part.columns:
        return f"{part.file} has no {name!r}"
    return f"{name!r} of {part.file} is none"
