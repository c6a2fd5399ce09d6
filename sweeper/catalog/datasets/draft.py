"""Packing: a store is written as a draft beside its place, and moved there when it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import lmdb

from sweeper.catalog.datasets.crew import in_order
from sweeper.catalog.datasets.example import Source
from sweeper.catalog.datasets.records import (
    PIECE,
    SEAL,
    Codec,
    Field,
    Record,
    field_of,
    records,
)

FORMAT = 2
"""Of stores: what they are refused for when it is another."""
FIRST_SIZE = 64 << 20
LOCK = "lock"
PACKED = b"packed"
"""The key under which a draft keeps what it is of, and how far it is."""

Progress = Callable[[int, int], None]


def identity(source: Source, codec: Codec) -> str:
    """Changes whenever a store would."""
    return hashlib.sha256(f"{FORMAT} {codec} {source.fingerprint()}".encode()).hexdigest()


def write(source: Source, path: Path, codec: Codec, progress: Progress) -> None:
    """Write a source's examples to a store, going on from where one that was killed has stopped.

    The store appears whole or not at all. Raises ValueError for an example that cannot be read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.packing")
    with alone(draft, path / "meta.json") as to_do:
        if not to_do:
            return
        try:
            meta = _written(source, draft, codec, progress)
        except ValueError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        with (draft / "meta.json").open("w") as file:
            json.dump(meta, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        (path / LOCK).unlink()


@contextmanager
def alone(draft: Path, done: Path) -> Iterator[bool]:
    """Be the only process that works on a draft; or learn, perhaps after waiting for another that
    does, that there is nothing left to do."""
    while not done.exists():
        draft.mkdir(exist_ok=True)
        try:
            lock = (draft / LOCK).open("w")
        except FileNotFoundError:
            continue
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(lock, draft / LOCK):
                yield True
                return
    yield False


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at a path: its folder may have been moved, or
    removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _written(source: Source, draft: Path, codec: Codec, progress: Progress) -> dict[str, Any]:
    """Fill a draft. Returns the description of the store."""
    total, whole = len(source), identity(source, codec)
    if not total:
        raise ValueError("a data set holds at least one example, but this one holds none")
    fields = {name: field_of(array, codec) for name, array in source[0].arrays().items()}
    pieces = Pieces(source, fields)
    file = Growing(draft / "data.mdb", whole)
    try:
        first = file.done
        for made in in_order(pieces, range(first, total, PIECE)):
            first = min(first + PIECE, total)
            file.add(made, first)
            progress(first, total)
        described = {
            "length": total,
            "fields": {name: asdict(field) for name, field in sorted(fields.items())},
            "class_names": list(source.classes),
            "recipe": dict(source.recipe),
            "unpaired": source.unpaired,
        }
        digest = file.finish(described)
    finally:
        file.environment.close()
    return {
        "format": FORMAT,
        "name": source.name,
        **described,
        "digest": digest,
        "source": whole,
        "bytes": (draft / "data.mdb").stat().st_size,
    }


@dataclass(frozen=True)
class Pieces:
    """The records of a piece of a source, by its first example."""

    source: Source
    fields: dict[str, Field]

    def __call__(self, first: int) -> list[Record]:
        examples = [self.source[i] for i in range(first, min(first + PIECE, len(self.source)))]
        return list(records(self.fields, len(self.source.classes), first, examples))


class Growing:
    """The file of a draft. It knows how many examples it holds, and of what; one that was begun
    otherwise is begun anew."""

    def __init__(self, path: Path, whole: str) -> None:
        self.path, self.whole = path, whole
        try:
            self._open()
            kept = self._kept()
        except lmdb.Error:  # killed while it was made
            kept = {}
        if kept.get("whole") != whole:
            if hasattr(self, "environment"):
                self.environment.close()
            path.unlink(missing_ok=True)
            self._open()
            kept = {"done": 0}
        self.done: int = kept["done"]

    def _open(self) -> None:
        self.environment = lmdb.open(
            str(self.path), subdir=False, map_size=FIRST_SIZE, lock=False, metasync=False
        )

    def _kept(self) -> dict[str, Any]:
        with self.environment.begin() as transaction:
            kept: dict[str, Any] = json.loads(transaction.get(PACKED) or b"{}")
        return kept

    def add(self, made: list[Record], done: int) -> None:
        """Append a piece, and remember it, at once or not at all."""
        self._put([*made, (PACKED, json.dumps({"whole": self.whole, "done": done}).encode())])

    def _put(self, made: list[Record]) -> None:
        while True:
            try:
                with self.environment.begin(write=True) as transaction:
                    for key, value in made:
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                self.environment.set_mapsize(2 * self.environment.info()["map_size"])
            except lmdb.Error as error:
                law = "a store is written to a disk with space for it"
                raise OSError(f"{law}, but {self.path}: {error}") from error

    def finish(self, described: dict[str, Any]) -> str:
        """The digest of what is there, which is complete now."""
        with self.environment.begin(buffers=True) as transaction:
            return digest_of(described, seals(transaction))


def seals(transaction: lmdb.Transaction) -> Iterator[bytes]:
    """The hash of every record, in the order of their keys."""
    for key, value in transaction.cursor():
        if bytes(key) != PACKED:
            yield bytes(value[:SEAL])


def digest_of(described: dict[str, Any], found: Iterable[bytes]) -> str:
    """A hash of a store's header, but for how images are encoded, and of its records in the order
    of their keys: the same however it was packed."""
    fields = {
        name: {"shape": list(field["shape"]), "dtype": field["dtype"]}
        for name, field in described["fields"].items()
    }
    digest = hashlib.sha256(json.dumps(described | {"fields": fields}, sort_keys=True).encode())
    for seal in found:
        digest.update(seal)
    return digest.hexdigest()
