"""Packed data, and the order it is seen in."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from sweeper.catalog.datasets import store as module
from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.records import PIECE
from sweeper.catalog.datasets.store import Order, Store, normalise, pack
from sweeper.catalog.families import datasets


class Noise(Synthetic):
    """Examples of any kind, from a seed."""

    name = "noise"
    classes = tuple("0123")

    def __init__(
        self, shape: tuple[int, ...] = (3, 5, 4), dtype: str = "uint8", n: int = 30, seed: int = 0
    ) -> None:
        random = np.random.default_rng(seed)
        drawn = random.integers(0, 256, (n, *shape))
        self.all = drawn.astype(np.uint8) if dtype == "uint8" else (drawn / 7).astype(np.float32)
        self.seed = seed

    def fingerprint(self) -> str:
        return f"{self.all.shape} {self.all.dtype} {self.seed}"

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, index: int) -> Example:
        return Example(self.all[index], index % 4)


class Unlabelled(Noise):
    classes = ()

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} without labels"

    def __getitem__(self, index: int) -> Example:
        return Example(self.all[index])


class Torn(Noise):
    def __getitem__(self, index: int) -> Example:
        if index:
            raise ValueError("the rest cannot be read")
        return Example(self.all[0], 0)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 5, 4), "uint8"), ((1, 8, 8), "uint8"), ((2,), "float32")]
)
@pytest.mark.parametrize("fits", [True, False])
def test_every_byte_comes_back(
    shape: tuple[int, ...], dtype: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fits:
        monkeypatch.setattr(module, "FITS_IN_MEMORY", 0)
    source = Noise(shape, dtype)
    store = pack(source, tmp_path)
    assert len(store) == 30
    assert (store.meta.shape, store.meta.dtype, store.meta.classes) == (shape, dtype, 4)
    indices = torch.tensor([7, 0, 29, 7])
    assert np.array_equal(store[indices].numpy(), source.all[indices.numpy()])
    assert np.array_equal(store[torch.arange(30)].numpy(), source.all)
    assert store.labels is not None
    assert store.labels.tolist() == [i % 4 for i in range(30)]
    assert store.bytes == source.all.nbytes


def test_data_without_labels_has_none(tmp_path: Path) -> None:
    store = pack(Unlabelled(), tmp_path)
    assert (store.labels, store.meta.classes) == (None, 0)


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    class Renamed(Noise):
        name = "renamed"

    digests = [
        pack(source, tmp_path).meta.digest
        for source in (Noise(), Renamed(), Noise(seed=1), Unlabelled(seed=2), Noise(seed=2))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


def test_what_is_packed_is_not_packed_again(tmp_path: Path) -> None:
    store = pack(Noise(), tmp_path)
    written = (store.path / "data.mdb").stat().st_mtime_ns
    counted = list[tuple[int, int]]()
    again = pack(Noise(), tmp_path, lambda done, total: counted.append((done, total)))
    assert again.path == store.path
    assert (store.path / "data.mdb").stat().st_mtime_ns == written
    assert counted == []
    pack(Noise(n=1500), tmp_path, lambda done, total: counted.append((done, total)))
    assert counted == [(min(done, 1500), 1500) for done in range(PIECE, 1500 + PIECE, PIECE)]


def test_a_store_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the rest cannot be read"):
        pack(Torn(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def _pack_there(folder: Path, start: multiprocessing.synchronize.Event) -> None:
    start.wait()
    store = pack(Noise(n=3000), folder)
    if not np.array_equal(store[torch.arange(3000)].numpy(), Noise(n=3000).all):
        os._exit(1)


def test_several_processes_may_pack_and_read_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    workers = [context.Process(target=_pack_there, args=(tmp_path, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [p.name for p in tmp_path.iterdir()] == [pack(Noise(n=3000), tmp_path).path.name]


def test_the_file_is_opened_when_it_is_first_read_and_once(tmp_path: Path) -> None:
    path = pack(Noise(), tmp_path).path
    hidden = path / "data.mdb"
    hidden.rename(path / "elsewhere")
    store = Store(path)
    assert len(store) == 30
    (path / "elsewhere").rename(hidden)
    first = store[torch.tensor([3])]
    assert torch.equal(Store(path)[torch.tensor([3])], first)
    assert sum(str(path) == name for name, _ in module._environments) == 1


def test_no_store_at_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="packed data has a meta") as raised:
        Store(tmp_path / "nothing")
    assert str(tmp_path / "nothing") in str(raised.value)


def test_images_are_shown_from_minus_one_to_one() -> None:
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    torch.testing.assert_close(normalise(levels), torch.tensor([-1.0, -0.6, 1.0]))
    points = torch.tensor([0.5, -7.0])
    assert torch.equal(normalise(points), points)


def test_digits_are_the_digits(cache: Path) -> None:
    store = pack(datasets["digits"].make(), cache / "data")
    images, labels = load_digits(return_X_y=True)
    assert (len(store), store.meta.shape, store.meta.classes) == (1797, (1, 8, 8), 10)
    levels = store[torch.arange(1797)].flatten(1).double()
    assert float((levels * 16 / 255 - torch.from_numpy(images)).abs().max()) < 0.05
    assert store.labels is not None
    assert store.labels.tolist() == labels.tolist()


def test_the_ring_lies_where_it_says(tmp_path: Path) -> None:
    ring = datasets["ring"].make(modes=5, radius=2.0, deviation=0.1, length=5000)
    store = pack(ring, tmp_path)
    points, labels = store[torch.arange(5000)].double(), store.labels
    assert labels is not None
    for mode in range(5):
        angle = torch.tensor(2 * torch.pi * mode / 5).double()
        centre = 2 * torch.stack([angle.cos(), angle.sin()])
        around = points[labels == mode] - centre
        assert len(around) == 1000
        assert float(around.mean(0).norm()) < 0.02
        assert float(around.std()) == pytest.approx(0.1, rel=0.05)


lengths, seeds = st.integers(1, 50), st.integers(0, 2**32)


@given(length=lengths, seed=seeds, epoch=st.integers(0, 100))
def test_every_epoch_is_a_permutation(length: int, seed: int, epoch: int) -> None:
    seen = Order(length, seed)(epoch * length, length)
    assert sorted(seen.tolist()) == list(range(length))


@given(length=lengths, seed=seeds, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_order_does_not_depend_on_how_it_is_read(
    length: int, seed: int, cuts: list[int]
) -> None:
    whole = Order(length, seed)(0, sum(cuts)).tolist()
    order, starts = Order(length, seed), [sum(cuts[:i]) for i in range(len(cuts))]
    parts = list(zip(starts, cuts, strict=True))
    for start, n in [*parts, *reversed(parts)]:
        assert order(start, n).tolist() == whole[start : start + n]


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    order = Order(50, 0)
    orders = [order(0, 50), order(50, 50), Order(50, 1)(0, 50), torch.arange(50)]
    assert len({tuple(each.tolist()) for each in orders}) == 4
