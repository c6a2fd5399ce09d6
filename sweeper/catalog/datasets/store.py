"""Packed data: every example of a data set in one LMDB file, addressed by its content's hash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from torch import Tensor

from sweeper.catalog.datasets.draft import FORMAT, Progress, identity, write
from sweeper.catalog.datasets.example import Source
from sweeper.catalog.datasets.records import PIECE, Codec, Field, key
from sweeper.game import Known, derive

FITS_IN_MEMORY = 2 << 30


@dataclass(frozen=True)
class Meta:
    """What a store holds, and how it was made.

    ``digest`` is a hash of this description and of all examples and labels, however they are
    encoded; ``source`` one of where they came from; ``bytes`` the size of the file.
    """

    name: str
    length: int
    fields: dict[str, Field]
    class_names: tuple[str, ...]
    recipe: dict[str, Any]
    unpaired: bool
    digest: str
    source: str
    bytes: int
    format: int

    @classmethod
    def read(cls, path: Path) -> Meta:
        """The description of a store. Raises ValueError where there is none, or of another
        format."""
        try:
            plain = json.loads((path / "meta.json").read_text())
            found = plain.get("format", 1)
            if found == FORMAT:
                fields = {
                    name: Field(tuple(field["shape"]), field["dtype"], field["codec"])
                    for name, field in plain["fields"].items()
                }
                return cls(**plain | {"fields": fields, "class_names": tuple(plain["class_names"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"packed data has a meta.json that describes it, but {path}: {error!r}"
            ) from error
        raise ValueError(
            f"stores are of format {FORMAT}, but {path} is of format {found}: pack its source "
            "again with `sweeper data pack SOURCE -o STORE`"
        )

    @property
    def known(self) -> Known:
        """What networks can be told of the examples."""
        channels = {name: field.shape[0] for name, field in self.fields.items()}
        return told_of(channels, self.classes, self.unpaired)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image, (C, H, W), or of a point, (K,)."""
        return self.fields["image"].shape

    @property
    def dtype(self) -> str:
        """The type of an image's or a point's numbers."""
        return self.fields["image"].dtype

    @property
    def classes(self) -> int:
        """How many classes there are; 0 without labels."""
        return len(self.class_names)


def told_of(channels: Mapping[str, int], classes: int, unpaired: bool) -> Known:
    """What networks can be told of examples that hold arrays of so many channels each."""
    return Known(
        classes,
        channels.get("source", 0),
        channels.get("style", 0),
        channels.get("mask", 0),
        paired=int(len(channels) > 1 and not unpaired),
    )


_environments: dict[tuple[str, str], lmdb.Environment] = {}
_in_memory: dict[tuple[str, str, str], Tensor] = {}


def _let_go() -> None:
    """Close, in a forked process, what its parent has open, and goes on reading."""
    for environment in _environments.values():
        environment.close()
    _environments.clear()


# LMDB allows one environment per file and process, and none may cross a fork.
os.register_at_fork(after_in_child=_let_go)


class Store:
    """A packed data set, read-only. The file is opened when it is first read, once per process.

    Raises ValueError when there is none at the path, and when something that is read is not what
    was packed, which it names.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.meta = Meta.read(self.path)
        self.fits = self.bytes <= FITS_IN_MEMORY
        self._key = (str(self.path), self.meta.digest)

    def __len__(self) -> int:
        return self.meta.length

    @property
    def bytes(self) -> int:
        """How much memory all examples take."""
        return len(self) * sum(held.bytes for held in self.meta.fields.values())

    @cached_property
    def labels(self) -> Tensor | None:
        """The label of every example (N,), or None."""
        if not self.meta.classes:
            return None
        with self._environment.begin(buffers=True) as transaction:
            parts = [
                self._array(transaction, "label", first, Field((n,), "int64"))
                for first, n in pieces(len(self))
            ]
            return torch.from_numpy(np.concatenate(parts))

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Raw images or points by index, in that order: (n, *shape)."""
        return self.read(indices)

    def read(self, indices: Tensor, field: str = "image") -> Tensor:
        """One array of the examples at some indices, in that order: (n, *shape), raw."""
        if self.fits:
            return self.all(field)[indices]
        return self.fetch(indices.tolist(), field)

    def all(self, field: str = "image") -> Tensor:
        """One array of every example as one tensor, kept for the life of the process."""
        kept = (*self._key, field)
        if kept not in _in_memory:
            _in_memory[kept] = self.fetch(range(len(self)), field)
        return _in_memory[kept]

    def fetch(self, indices: Sequence[int], field: str) -> Tensor:
        """One array of the examples at some indices, from the file."""
        held = self.meta.fields[field]
        out = np.empty((len(indices), *held.shape), held.dtype)
        with self._environment.begin(buffers=True) as transaction:
            for row, index in enumerate(indices):
                out[row] = self._array(transaction, field, index, held)
        return torch.from_numpy(out)

    def _array(
        self, transaction: lmdb.Transaction, name: str, index: int, held: Field
    ) -> np.ndarray:
        record = key(name, index)
        try:
            value = transaction.get(record)
            if value is None:
                raise ValueError("it is not there")
            return held.array(value)
        except (ValueError, lmdb.Error) as error:
            raise ValueError(
                f"every record of a store is what was packed, but {record.decode()} of {self.path} "
                f"is not: {error}; `sweeper data check` looks at all of them"
            ) from error

    @property
    def _environment(self) -> lmdb.Environment:
        if self._key not in _environments:
            _environments[self._key] = self._opened()
        return _environments[self._key]

    def _opened(self) -> lmdb.Environment:
        file = self.path / "data.mdb"
        there = file.stat().st_size if file.exists() else 0
        # Reading past its end would end the process.
        if there < self.meta.bytes:
            raise ValueError(
                f"{file} has {self.meta.bytes:,} bytes, but only {there:,} of them are there: "
                "`sweeper data check` names the records that are lost"
            )
        try:
            return lmdb.open(str(file), subdir=False, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise ValueError(f"{file} is a file of LMDB, but it cannot be read: {error}") from error


def pieces(length: int) -> Iterator[tuple[int, int]]:
    """The first example of every piece, and how many it has."""
    return ((first, min(PIECE, length - first)) for first in range(0, length, PIECE))


def normalise(raw: Tensor) -> Tensor:
    """Raw examples as the networks see them: uint8 images in [-1, 1], points as they are."""
    return raw.float().div_(127.5).sub_(1) if raw.dtype == torch.uint8 else raw


def nothing(done: int, total: int) -> None:
    """Show no progress."""


def pack(source: Source, folder: Path, progress: Progress = nothing, codec: Codec = "raw") -> Store:
    """Write a source's examples to a store of its own under ``folder``, unless they are there.

    The store appears whole or not at all, several processes may pack the same source at once, and
    one that was killed is continued. ``progress`` is called with the number of examples written so
    far and in all.
    """
    path = folder / f"{source.name}-{identity(source, codec)[:12]}"
    if not (path / "meta.json").exists():
        write(source, path, codec, progress)
    return Store(path)


class Order:
    """The order in which a trial sees its data: a fresh permutation per epoch, a pure function of
    seed and position."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed = length, seed
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, position: int, n: int) -> Tensor:
        """Indices of the ``n`` examples from a position on, counted from the start of training."""
        parts = list[Tensor]()
        while n > 0:
            epoch, offset = divmod(position, self.length)
            part = self._of(epoch)[offset : offset + n]
            parts.append(part)
            position, n = position + len(part), n - len(part)
        return torch.cat(parts)

    def _of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            random = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
            self._epoch, self._permutation = epoch, torch.randperm(self.length, generator=random)
        return self._permutation
