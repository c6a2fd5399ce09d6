"""Looking at every record of a store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import lmdb
import torch
from torch import Tensor

from sweeper.catalog.datasets.crew import cpus, number, together
from sweeper.catalog.datasets.draft import Progress, digest_of
from sweeper.catalog.datasets.records import PIECE, SEAL, Field, key
from sweeper.catalog.datasets.store import Meta, nothing

HEADER = ("length", "fields", "class_names", "recipe", "unpaired")


class Seen(NamedTuple):
    """What was found in a piece: the hash of each sound record by its key, and what is wrong."""

    seals: dict[bytes, bytes]
    wrong: list[str]


def check(path: Path, progress: Progress = nothing) -> Iterator[str]:
    """Everything that is wrong with a store. Raises ValueError when there is none at the path.

    Records are read by other processes, since a damaged file may end the one that reads it.
    """
    meta = Meta.read(path)
    file = path / "data.mdb"
    there = file.stat().st_size if file.exists() else 0
    if there != meta.bytes:
        yield f"{file} has {there:,} bytes of {meta.bytes:,}"
    if not there:
        return
    look = Look(str(file), meta, shared(cpus()))
    seals: dict[bytes, bytes] = {}
    sound, workers, begin = True, cpus(), 0
    while begin < meta.length:
        try:
            for seen in together(look, range(begin, meta.length, PIECE), workers):
                yield from seen.wrong
                sound = sound and not seen.wrong
                seals |= seen.seals
                begin += PIECE
                progress(min(begin, meta.length), meta.length)
            break
        except ChildProcessError:
            if workers == 1:
                yield f"{look.last()}: reading it ends the process, and what follows was not read"
                return
            # By one process, in order, it is sure which record did it.
            workers = 1
            look.at.fill_(-1)
    described = json.loads((path / "meta.json").read_text())
    header = {name: described[name] for name in HEADER}
    if sound and digest_of(header, (seals[name] for name in sorted(seals))) != meta.digest:
        yield "meta.json is what was packed with these records, but its digest is not theirs"


def shared(workers: int) -> Tensor:
    """The record that each process reads, seen by all: (workers, 2)."""
    at = torch.full((workers, 2), -1)
    return cast(Tensor, at.share_memory_())  # type: ignore[no-untyped-call]


class Look:
    """Reads the records of a piece, and keeps note of which, for the case that it is the last."""

    def __init__(self, file: str, meta: Meta, at: Tensor) -> None:
        self.file, self.meta, self.at = file, meta, at
        self.environment: lmdb.Environment | None = None

    def __call__(self, first: int) -> Seen:
        seen = Seen({}, [])
        n = min(PIECE, self.meta.length - first)
        wanted = {(i, k): f for i in range(first, first + n) for k, f in self._fields.items()}
        if self.meta.classes:
            wanted[first, "label"] = Field((n,), "int64")
        for (index, name), field in wanted.items():
            self._record(seen, index, name, field)
        return seen

    @property
    def _fields(self) -> dict[str, Field]:
        return self.meta.fields

    def _record(self, seen: Seen, index: int, name: str, field: Field) -> None:
        self._note(index, name)
        record = key(name, index)
        try:
            if self.environment is None:
                self.environment = lmdb.open(
                    self.file, subdir=False, readonly=True, lock=False, readahead=False
                )
            with self.environment.begin(buffers=True) as transaction:
                value = transaction.get(record)
                if value is None:
                    raise ValueError("it is not there")
                field.array(value)
                seen.seals[record] = bytes(value[:SEAL])
        except (ValueError, lmdb.Error) as error:
            seen.wrong.append(f"{record.decode()}: {error}")

    def _note(self, index: int, name: str) -> None:
        where = self.at[max(number(), 0)]
        where[0], where[1] = index, sorted((*self._fields, "label")).index(name)

    def last(self) -> str:
        """The record that was being read by the only process that reads."""
        index, name = self.at[0].tolist()
        return key(sorted((*self._fields, "label"))[name], index).decode()
