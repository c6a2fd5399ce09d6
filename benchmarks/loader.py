#!/usr/bin/env python
"""What a batch costs: sweeper's feed beside what is usual, on the same random images.

A folder of PNGs is read by torchvision's ImageFolder in a DataLoader, the same files out of an LMDB
by a DataLoader, and sweeper's store by its feed: whole in memory, and as if it did not fit. All
yield shuffled batches of images in [-1, 1] with their labels, and those that use processes use as
many. They take turns, and a block is a turn of each. Printed are the images a second of each, and
the ratio of sweeper's to each of the usual ones: the mean over blocks with its lower 95 % bound
(one-sided, bootstrap over blocks).
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lmdb
import numpy as np
import torch
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


def compare(arms: dict[str, Turn], turns: int, blocks: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for turn in arms.values():
        turn(8)
    for block in range(blocks):
        names = list(arms)
        for name in names[block % len(names) :] + names[: block % len(names)]:
            start = time.perf_counter()
            arms[name](turns)
            rates[name].append(turns * BATCH / (time.perf_counter() - start))
    for name, found in rates.items():
        print(f"{name:34}{np.mean(found):12,.0f} images/s")
    random = np.random.default_rng(0)
    for name in (n for n in rates if n.startswith("feed")):
        for other in (n for n in rates if not n.startswith("feed")):
            ratios = np.array(rates[name]) / np.array(rates[other])
            resampled = random.choice(ratios, (10_000, blocks)).mean(1)
            low = np.quantile(resampled, 0.05)
            print(f"{name} : {other}  {ratios.mean():.2f}, lower 95 % bound {low:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--turns", type=int, default=64, help="batches of each in a block")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as made:
        folder, stores = Path(made) / "images", Path(made) / "stores"
        images(folder, given.images, given.size)
        plain = ImageFolder(str(folder), SEEN)
        packed = Packed(Path(made) / "lmdb", plain.samples)
        workers, size = given.workers, given.size
        print(f"{given.images:,} images of {size} px, batches of {BATCH}, {workers} processes")
        arms = {
            "feed, in memory": ours(folder, stores, "raw", None, size),
            "feed, read ahead, raw": ours(folder, stores, "raw", workers, size),
            "feed, read ahead, PNG": ours(folder, stores, "png", workers, size),
            "ImageFolder": usual(plain, workers),
            "DataLoader over LMDB of PNGs": usual(packed, workers),
        }
        compare(arms, given.turns, given.blocks)


if __name__ == "__main__":
    main()
