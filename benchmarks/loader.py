#!/usr/bin/env python
"""What a batch costs: sweeper's feed beside what is usual, on the same random images.

A folder of PNGs is read by torchvision's ImageFolder in a DataLoader, the same files out of an LMDB
by a DataLoader, and sweeper's store by its feed: whole in memory, and as if it did not fit. All
yield shuffled batches of images in [-1, 1] with their labels, and those that use processes use as
many. They take turns, by the clock on the wall, since processes are among them.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lmdb
import numpy as np
import torch
from pairs import Row, Times, in_turns, told
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from sweeper.catalog.datasets.folder import Folder
from sweeper.catalog.datasets.records import Codec
from sweeper.catalog.datasets.store import pack
from sweeper.config import Feeding
from sweeper.trial import feed as feeding
from sweeper.trial.feed import Feed

BATCH = 64
CLASSES = 4
SEEN = v2.Compose(
    [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.5] * 3, [0.5] * 3),
    ]
)

OURS = ("feed, in memory", "feed, read ahead, raw", "feed, read ahead, PNG")
USUAL = ("ImageFolder, DataLoader", "DataLoader over LMDB of PNGs")

Turn = Callable[[int], None]


def images(folder: Path, n: int, size: int) -> None:
    """Smooth random images, which compress about as photographs do, in folders by class."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
    for i in range(n):
        small = Image.fromarray(random.integers(0, 256, (size // 4, size // 4, 3), np.uint8))
        image = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)).astype(np.int16)
        image = (image + random.integers(-6, 7, image.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / str(i % CLASSES) / f"{i:06d}.png")


class Packed(Dataset[tuple[torch.Tensor, int]]):
    """PNGs in an LMDB, opened when it is first read, as tutorials have it."""

    def __init__(self, path: Path, files: list[tuple[str, int]]) -> None:
        self.path, self.labels = str(path), [label for _, label in files]
        self.environment: Any = None
        with (
            lmdb.open(self.path, map_size=1 << 32) as made,
            made.begin(write=True) as transaction,
        ):
            for i, (file, _) in enumerate(files):
                transaction.put(str(i).encode(), Path(file).read_bytes())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if self.environment is None:
            self.environment = lmdb.open(self.path, readonly=True, lock=False, readahead=False)
        with self.environment.begin() as transaction:
            image = Image.open(io.BytesIO(transaction.get(str(index).encode()))).convert("RGB")
        return SEEN(image), self.labels[index]


def usual(data: Dataset[Any], workers: int) -> Turn:
    """Batches of a DataLoader, epoch after epoch, by processes that stay."""
    loader: DataLoader[Any] = DataLoader(
        data,
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="forkserver" if workers else None,
    )

    def endless() -> Iterator[Any]:
        while True:
            yield from loader

    batches = endless()

    def turn(n: int) -> None:
        for _ in range(n):
            image, label = next(batches)
            assert image.shape[0] == len(label) == BATCH

    return turn


def ours(folder: Path, store: Path, codec: Codec, workers: int | None, size: int) -> Turn:
    """Batches of the feed: of what is in memory, or read by so many processes."""
    made = pack(Folder(path=str(folder), size=size), store, codec=codec)
    share, feeding.SHARE = feeding.SHARE, 0.0 if workers is not None else feeding.SHARE
    feed = Feed(made, Feeding(workers=workers or 0), 0, torch.device("cpu"))
    feeding.SHARE = share

    def turn(n: int) -> None:
        for _ in range(n):
            batch = feed.draw(BATCH)
            assert batch.label is not None
            assert len(batch) == len(batch.label) == BATCH

    return turn


def measured(n: int, size: int, workers: int, batches: int, blocks: int) -> Times:
    """The time that each takes for so many batches of n images."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as made:
        folder, stores = Path(made) / "images", Path(made) / "stores"
        images(folder, n, size)
        plain = ImageFolder(str(folder), SEEN)
        packed = Packed(Path(made) / "lmdb", plain.samples)
        arms = {
            OURS[0]: ours(folder, stores, "raw", None, size),
            OURS[1]: ours(folder, stores, "raw", workers, size),
            OURS[2]: ours(folder, stores, "png", workers, size),
            USUAL[0]: usual(plain, workers),
            USUAL[1]: usual(packed, workers),
        }
        steps = {name: partial(turn, batches) for name, turn in arms.items()}
        return in_turns(steps, blocks, time.perf_counter)


def compared(times: Times, n: int, size: int, workers: int, batches: int) -> list[Row]:
    """Each way of the feed beside each that is usual."""
    protocol = (
        f"{2 * batches} shuffled, normalised batches of {BATCH} with their labels, of {n:,} random "
        f"images of {size} px; wall time; whoever uses processes uses {workers}"
    )
    return [
        times.row(name, other, part="loader", case=name, protocol=protocol)
        for name in OURS
        for other in USUAL
    ]


def rows(quick: bool) -> list[Row]:
    """The feed beside what is usual."""
    n, size, workers, batches, blocks = (256, 64, 2, 8, 2) if quick else (4096, 64, 2, 64, 8)
    times = measured(n, size, workers, batches, blocks)
    return compared(times, n, size, workers, batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--turns", type=int, default=64, help="batches of each in a turn")
    given = parser.parse_args()
    about = given.images, given.size, given.workers, given.turns
    times = measured(*about, given.blocks)
    for name, seconds in zip(times.names, times.seconds.T, strict=True):
        print(f"{name:34}{2 * given.turns * BATCH / np.median(seconds):12,.0f} images/s")
    print(told(compared(times, *about)))


if __name__ == "__main__":
    main()
