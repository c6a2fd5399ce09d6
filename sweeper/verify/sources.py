"""Data that is read from files: what was written comes back, as it is said to."""

from __future__ import annotations

import io
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sweeper.catalog.datasets.digits import Digits
from sweeper.catalog.datasets.example import Example, Source
from sweeper.catalog.datasets.images import prepared, prepared_mask
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import datasets
from sweeper.config import Pick
from sweeper.trial.loop import open_store
from sweeper.verify.claims import Claim, check

FEW = 6


def colours(seed: int) -> np.ndarray:
    """An image, uint8 (8, 8, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@contextmanager
def folder_of(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder of files that is gone afterwards."""
    with tempfile.TemporaryDirectory() as root:
        for name, data in files.items():
            path = Path(root) / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield Path(root) / "in"


def off(array: np.ndarray | None, expected: np.ndarray) -> float:
    """The most that (C, H, W) differs from (H, W, C)."""
    assert array is not None
    return float(np.abs(array.astype(int) - expected.transpose(2, 0, 1).astype(int)).max())


def images_of(source: Source) -> Iterator[Claim]:
    """Of a source of colours in two classes."""
    found: list[Example] = [source[i] for i in range(FEW)]
    yield Claim("images, off by", max(off(e.image, colours(i)) for i, e in enumerate(found)), 0)
    yield Claim("examples of the second class", sum(e.label == 1 for e in found), FEW / 2)


def classed() -> dict[str, bytes]:
    return {f"{i * 2 // FEW}/{i}.png": png(colours(i)) for i in range(FEW)}


@check("folder")
def what_lies_in_a_folder() -> Iterator[Claim]:
    with folder_of(classed()) as folder:
        yield from images_of(datasets["folder"].make(path=str(folder), size=8))
    half = np.zeros((4, 4, 4), np.uint8)
    half[..., 3] = 51
    seen = prepared(Image.fromarray(half), 4)
    yield Claim("black that is a fifth opaque, on white", seen.mean(), 204, 0.005)
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = colours(0)
    central = off(prepared(Image.fromarray(wide), 8), colours(0))
    yield Claim("crop takes the central square, off by", central, 0)
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    scaled = prepared(Image.fromarray(deep), 16, 1, "none")[0]
    yield Claim("grey of 16 bits in 8, off by", np.abs(scaled - deep // 257).max(), 0)
    high = prepared(Image.new("L", (1914, 1052)), 600, 1, "scale_width").shape[1]
    yield Claim("the height of 1914 x 1052 scaled to 600 px wide", high, 330)


@check("archive")
def what_lies_in_an_archive() -> Iterator[Claim]:
    with folder_of(classed()) as folder:
        with zipfile.ZipFile(folder / "set.zip", "w") as zipped:
            for name, data in classed().items():
                zipped.writestr(name, data)
        with tarfile.open(folder / "set.tar.gz", "w:gz") as tar:
            for name in classed():
                tar.add(folder / name, name)
        for name in ("set.zip", "set.tar.gz"):
            yield from images_of(datasets["archive"].make(path=str(folder / name), size=8))


@check("parquet")
def what_lies_in_a_parquet_file() -> Iterator[Claim]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": data, "path": name} for name, data in classed().items()]
    table = pa.table({"image": images, "label": [i * 2 // FEW for i in range(FEW)]})
    with folder_of({"unused": b""}) as folder:
        pq.write_table(table, folder / "set.parquet", row_group_size=2)
        yield from images_of(datasets["parquet"].make(path=str(folder / "set.parquet"), size=8))


@check("paired")
def what_belongs_together() -> Iterator[Claim]:
    files = {
        f"{side}/{i}.png": png(colours(i + 10 * (side == "B"))) for i in (0, 1) for side in "AB"
    }
    beside = {f"AB/{i}.png": png(np.hstack([colours(i), colours(i + 10)])) for i in (0, 1)}
    with folder_of(files | beside) as folder:
        for made in (
            datasets["paired"].make(path=str(folder), size=8),
            datasets["paired"].make(path=str(folder / "AB"), size=8, side_by_side=True),
        ):
            yield Claim("what G is given, off by", off(made[1].source, colours(1)), 0)
            yield Claim("what it is to make of it, off by", off(made[1].image, colours(11)), 0)


@check("two_domain")
def what_does_not_belong_together() -> Iterator[Claim]:
    sizes = {"trainA": 40, "trainB": 30}
    files = {
        f"{domain}/{i:02d}.png": png(np.full((4, 4, 3), i, np.uint8))
        for domain, n in sizes.items()
        for i in range(n)
    }
    with folder_of(files) as folder:
        made: Source = datasets["two_domain"].make(path=str(folder), size=4)
        found = [made[i] for i in range(len(made))]
    given = [int(example.source.max()) for example in found if example.source is not None]
    wanted = [int(example.image.max()) for example in found]
    yield Claim("examples, as many as the larger domain has", len(found), 40)
    yield Claim("different images that G is given", len(set(given)), 40)
    yield Claim("different images that D sees", len(set(wanted)), 30)
    same = sum(map(int.__eq__, given, wanted)) / 40
    yield Claim("share that stands beside its namesake", same, 0, 0.1)


@check("masked")
def what_lies_inside() -> Iterator[Claim]:
    inside = np.zeros((8, 8), np.uint8)
    inside[:, :3] = 255
    files = {"images/a.png": png(colours(0)), "masks/a.png": png(inside)}
    with folder_of(files) as folder:
        example = datasets["masked"].make(path=str(folder), size=8)[0]
    yield Claim("image, off by", off(example.image, colours(0)), 0)
    yield Claim("mask, off by", off(example.mask, inside[..., None]), 0)
    halves = prepared_mask(Image.fromarray(inside), 4)[0, 0].tolist()
    yield Claim("of 4 pixels, 1 inside and 1 halfway: inside", sum(halves) / 255, 2)


def idx(array: np.ndarray) -> bytes:
    """Bytes in the format of MNIST's files."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


@check("torchvision")
def what_torchvision_reads() -> Iterator[Claim]:
    images = np.random.default_rng(0).integers(0, 256, (FEW, 28, 28), dtype=np.uint8)
    files = {
        f"MNIST/raw/{part}-{kind}": idx(array)
        for part in ("train", "t10k")
        for kind, array in (
            ("images-idx3-ubyte", images),
            ("labels-idx1-ubyte", np.arange(FEW)),
        )
    }
    with folder_of(files) as folder:
        made: Source = datasets["torchvision"].make(name="mnist", root=str(folder), size=28)
        found = [made[i] for i in range(len(made))]
    gaps = [off(example.image, images[i][..., None]) for i, example in enumerate(found)]
    yield Claim("MNIST's images, off by", max(gaps), 0)
    yield Claim("labels that are right", sum(e.label == i for i, e in enumerate(found)), FEW)


@check("packed")
def what_was_packed() -> Iterator[Claim]:
    entry = datasets["packed"]
    with tempfile.TemporaryDirectory() as folder:
        path = pack(Digits(), Path(folder)).path
        store = open_store(Pick(entry, entry.knobs.model_validate({"path": str(path)})), path)
        digits, order = Digits(), torch.arange(0, len(store), 100)
        wanted = np.stack([digits[i].image for i in order.tolist()])
        gap = np.abs(store[order].numpy().astype(int) - wanted).max()
        yield Claim("digits, packed and read again, off by", float(gap), 0)
        yield Claim("examples", len(store), 1797)
