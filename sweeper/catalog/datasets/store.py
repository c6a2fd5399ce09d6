"""Packed data: every example of a data set as raw bytes in one LMDB file, addressed by its
content's hash."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

import lmdb
import numpy as np
import torch
from torch import Tensor

from sweeper.game import Batch, derive

FITS_IN_MEMORY = 2 << 30
Example = tuple[np.ndarray, int | None]


class Source(Protocol):
    """A data set before it is packed: a fingerprint of where it comes from, and its examples."""

    @property
    def name(self) -> str: ...

    def fingerprint(self) -> str:
        """Changes whenever the examples may have changed; cheap next to reading them."""
        ...

    def examples(self) -> Iterator[Example]:
        """Images as uint8 (C, H, W) or points as float32 (K,), each with its label if it has
        one."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Meta:
    """What a store holds. ``digest`` is a hash of every byte of examples and labels."""

    name: str
    length: int
    shape: tuple[int, ...]
    dtype: str
    classes: int
    digest: str


_environments: dict[tuple[int, str], lmdb.Environment] = {}
_in_memory: dict[tuple[int, str], Tensor] = {}


class Store:
    """A packed data set, read-only. The file is opened when it is first read, once per process.

    Raises ValueError when there is none at the path.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            meta = json.loads((self.path / "meta.json").read_text())
            self.meta = Meta(**meta | {"shape": tuple(meta["shape"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"packed data has a meta.json that describes it, but {self.path}: {error!r}"
            ) from error
        self._fits, self._name = self.bytes <= FITS_IN_MEMORY, str(self.path)

    def __len__(self) -> int:
        return self.meta.length

    @property
    def bytes(self) -> int:
        return len(self) * math.prod(self.meta.shape) * np.dtype(self.meta.dtype).itemsize

    @cached_property
    def labels(self) -> Tensor | None:
        """The label of every example (N,), or None."""
        if not self.meta.classes:
            return None
        with self._environment.begin() as transaction:
            packed = transaction.get(b"labels")
            assert packed is not None
            return torch.from_numpy(np.frombuffer(packed, np.int64).copy())

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Raw examples by index, in that order: (n, *shape)."""
        if self._fits:
            return self.all()[indices]
        return self._read(indices.tolist())

    def all(self) -> Tensor:
        """Every raw example as one tensor, kept for the life of the process."""
        key = (os.getpid(), self._name)
        if key not in _in_memory:
            _in_memory[key] = self._read(range(len(self)))
        return _in_memory[key]

    def _read(self, indices: Sequence[int]) -> Tensor:
        out = np.empty((len(indices), *self.meta.shape), self.meta.dtype)
        with self._environment.begin(buffers=True) as transaction:
            for row, index in enumerate(indices):
                data = transaction.get(b"%08d" % index)
                assert data is not None
                out[row] = np.frombuffer(data, self.meta.dtype).reshape(self.meta.shape)
        return torch.from_numpy(out)

    @property
    def _environment(self) -> lmdb.Environment:
        # LMDB allows one environment per file and process, and none may cross a fork.
        key = (os.getpid(), str(self.path))
        if key not in _environments:
            _environments[key] = lmdb.open(
                str(self.path / "data.mdb"),
                subdir=False,
                readonly=True,
                lock=False,
                readahead=False,
            )
        return _environments[key]


def normalise(raw: Tensor) -> Tensor:
    """Raw examples as the networks see them: uint8 images in [-1, 1], points as they are."""
    return raw.float() / 127.5 - 1 if raw.dtype == torch.uint8 else raw


def pack(
    source: Source, folder: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> Store:
    """Write a source's examples to a store under ``folder``, unless they are there already.

    The store appears whole or not at all, and several processes may pack the same source at once.
    ``progress`` is called with the number of examples written so far and in all.
    """
    key = hashlib.sha256(source.fingerprint().encode()).hexdigest()[:12]
    path = folder / f"{source.name}-{key}"
    if (path / "meta.json").exists():
        return Store(path)
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".packing-", dir=folder))
    try:
        meta = _write(source, draft / "data.mdb", progress)
        (draft / "meta.json").write_text(json.dumps(asdict(meta)))
        try:
            draft.rename(path)
        except OSError:
            if not (path / "meta.json").exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Store(path)


def _write(source: Source, file: Path, progress: Callable[[int, int], None]) -> Meta:
    total, labels, digest = len(source), list[int](), hashlib.sha256()
    numbered = enumerate(source.examples())
    with lmdb.open(
        str(file), subdir=False, map_size=1 << 40, lock=False, sync=False
    ) as environment:
        while block := list(islice(numbered, 1000)):
            with environment.begin(write=True) as transaction:
                for index, (example, label) in block:
                    data = np.ascontiguousarray(example).tobytes()
                    digest.update(data)
                    transaction.put(b"%08d" % index, data, append=True)
                    labels += [] if label is None else [label]
            progress(block[-1][0] + 1, total)
        packed = np.asarray(labels, np.int64)
        digest.update(packed.tobytes())
        with environment.begin(write=True) as transaction:
            transaction.put(b"labels", packed.tobytes())
        environment.sync(True)
    classes = int(packed.max()) + 1 if len(packed) else 0
    return Meta(source.name, total, example.shape, str(example.dtype), classes, digest.hexdigest())


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


def batch_of(store: Store, indices: Tensor, device: torch.device) -> Batch:
    """The examples at some indices, normalised on the device, and their labels if they have any."""
    labels = store.labels
    return Batch(
        normalise(store[indices].to(device, non_blocking=True)),
        None if labels is None else labels[indices].to(device, non_blocking=True),
    )
