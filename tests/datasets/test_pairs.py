"""Folders of pairs, of two domains, and of images with masks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sweeper.catalog.datasets.example import Source
from sweeper.catalog.datasets.files import ImageFiles
from sweeper.catalog.datasets.masked import Masked
from sweeper.catalog.datasets.paired import Paired
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.datasets.two_domain import TwoDomain


def colours(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


def chw(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1)


def pairs_at(root: Path, n: int = 3) -> None:
    for i in range(n):
        save(root / "A" / f"x{i}" / "a.png", colours(i))
        save(root / "B" / f"x{i}" / "a.bmp", colours(100 + i))


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_of_two_folders(swapped: bool, tmp_path: Path) -> None:
    pairs_at(tmp_path / "facades")
    knobs = {"source": "B", "target": "A"} if swapped else {}
    source = Paired(path=str(tmp_path / "facades"), size=8, **knobs)
    store = pack(source, tmp_path / "out")
    assert (store.meta.name, len(store), store.meta.unpaired) == ("facades", 3, False)
    for i in range(3):
        a, b = chw(colours(i)), chw(colours(100 + i))
        given, wanted = (b, a) if swapped else (a, b)
        index = torch.tensor([i])
        assert np.array_equal(store.read(index, "source")[0].numpy(), given)
        assert np.array_equal(store.read(index)[0].numpy(), wanted)


@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_side_by_side(swapped: bool, tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / "train" / f"{i}.png", np.hstack([colours(i), colours(100 + i)]))
    knobs: dict[str, Any] = {"source": "B", "target": "A"} if swapped else {}
    data = Paired(path=str(tmp_path), size=8, side_by_side=True, **knobs)
    for i in range(2):
        a, b = chw(colours(i)), chw(colours(100 + i))
        example = pickle.loads(pickle.dumps(data))[i]
        assert np.array_equal(example.image, a if swapped else b)
        assert np.array_equal(example.source, b if swapped else a)


def test_halves_are_those_of_an_image_turned_upright(tmp_path: Path) -> None:
    both, exif = np.hstack([colours(0), colours(1)]), Image.Exif()
    exif[0x0112] = 8
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.png", np.ascontiguousarray(np.rot90(both, -1)), exif=exif)
    example = Paired(path=str(tmp_path / "in"), size=8, side_by_side=True)[0]
    assert np.array_equal(example.source, chw(colours(0)))


def test_halves_of_an_odd_width_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", colours(0, 8, 17))
    with pytest.raises(ValueError, match=r"a\.png cannot: .* have an even width, but got 17"):
        Paired(path=str(tmp_path), side_by_side=True)[0]
    with pytest.raises(ValueError, match="A, left, and B, right, but got photo and B"):
        Paired(path=str(tmp_path), side_by_side=True, source="photo")


def test_a_pair_of_different_sizes_is_cropped_alike(tmp_path: Path) -> None:
    # The same scene in two resolutions, sideways in the one file: where it is white says how.
    scene = np.zeros((40, 80, 3), np.uint8)
    scene[:, 28:48] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "A" / "a.png", scene[::4, ::4])
    save(tmp_path / "B" / "a.png", np.ascontiguousarray(np.rot90(scene, 1)), exif=exif)
    example = Paired(path=str(tmp_path), size=10)[0]
    assert np.abs(example.image.astype(int) - example.source.astype(int)).max() < 40
    assert np.array_equal(example.image > 127, example.source > 127)


def test_a_pair_of_different_proportions_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "A" / "a.png", colours(0, 20, 20))
    save(tmp_path / "B" / "a.png", colours(0, 20, 30))
    with pytest.raises(ValueError, match=r"A/a\.png has 20 x 20 and .*B/a\.png has 30 x 20"):
        Paired(path=str(tmp_path))[0]


@pytest.mark.parametrize(
    ("make", "folders"),
    [(Paired, ("A", "B")), (Masked, ("images", "masks"))],
)
def test_an_image_that_is_alone_is_named(
    make: type[ImageFiles], folders: tuple[str, str], tmp_path: Path
) -> None:
    first, second = (tmp_path / "in" / folder for folder in folders)
    for i in range(4):
        save(first / f"{i}.png", colours(i))
    save(second / "2.png", colours(0))
    data = make(path=str(tmp_path / "in"))
    with pytest.raises(ValueError, match=rf"but {second} has none for {first}/0\.png \(nor for 2 "):
        pack(data, tmp_path / "out")
    for i in range(5):
        save(second / f"{i}.png", colours(0))
    with pytest.raises(ValueError, match=rf"but {first} has none for {second}/4\.png$"):
        pack(make(path=str(tmp_path / "in")), tmp_path / "out")
    save(first / "4.png", colours(0))
    save(first / "4.bmp", colours(0))
    with pytest.raises(ValueError, match=rf"another one beside {first}/4\.bmp"):
        pack(make(path=str(tmp_path / "in")), tmp_path / "out")


def test_without_its_folders_there_are_no_pairs(tmp_path: Path) -> None:
    save(tmp_path / "a.png", colours(0))
    law = rf"pairs lie in the folders {tmp_path}/A and {tmp_path}/B.*side_by_side: true"
    with pytest.raises(ValueError, match=law):
        Paired(path=str(tmp_path)).fingerprint()
    with pytest.raises(ValueError, match=rf"holds images .* but {tmp_path}/images holds none"):
        Masked(path=str(tmp_path)).fingerprint()
    with pytest.raises(ValueError, match=rf"holds images .* but {tmp_path}/trainA holds none"):
        TwoDomain(path=str(tmp_path)).fingerprint()


def test_masks_go_with_their_images(tmp_path: Path) -> None:
    for i in range(3):
        inside = np.zeros((8, 8), np.uint8)
        inside[:, : i + 1] = 255
        save(tmp_path / "in" / "images" / f"{i}.jpg", colours(i), quality=100)
        save(tmp_path / "in" / "masks" / f"{i}.png", inside)
    store = pack(Masked(path=str(tmp_path / "in"), size=8), tmp_path / "out")
    assert list(store.meta.fields) == ["image", "mask"]
    masks = store.all("mask")
    assert masks.shape == (3, 1, 8, 8)
    assert masks.sum((1, 2, 3)).tolist() == [255 * 8 * (i + 1) for i in range(3)]
    assert set(masks.unique().tolist()) == {0, 255}


def test_two_domains_belong_together_by_chance(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / "in" / "trainA" / f"{i:02d}.png", np.full((8, 8, 3), i, np.uint8))
    for i in range(20):
        save(tmp_path / "in" / "trainB" / f"{i:02d}.png", np.full((8, 8, 3), i, np.uint8))
    data = TwoDomain(path=str(tmp_path / "in"), size=8)
    assert data.unpaired
    assert len(data) == 30
    pairs = [(int(data[i].source[0, 0, 0]), int(data[i].image[0, 0, 0])) for i in range(30)]
    assert sorted(a for a, _ in pairs) == list(range(30))
    assert sorted(b for _, b in pairs) == sorted([*range(20), *range(10)])
    # Files of the same name would else stand together, as if they were pairs.
    assert sum(a == b for a, b in pairs) < 6
    again = TwoDomain(path=str(tmp_path / "in"), size=8)
    assert [int(again[i].source[0, 0, 0]) for i in range(30)] == [a for a, _ in pairs]
    with pytest.raises(IndexError):
        data[30]


def test_images_that_keep_their_shapes_have_that_of_the_first(tmp_path: Path) -> None:
    pairs_at(tmp_path)
    save(tmp_path / "A" / "x2" / "a.png", colours(0, 6, 9))
    save(tmp_path / "B" / "x2" / "a.bmp", colours(0, 6, 9))
    data = Paired(path=str(tmp_path), resize="none")
    assert data.recipe == {"resize": "none"}
    assert data[1].image.shape == (3, 8, 8)
    says = r"first, image \(3, 8, 8\), source .* but .*x2/a\.png and .* has image \(3, 6, 9\), "
    with pytest.raises(ValueError, match=says):
        data[2]


def by_hand(make: Callable[..., Source], root: Path, **knobs: Any) -> str:
    return make(path=str(root), **knobs).fingerprint()


def test_fingerprints_change_with_files_and_knobs(tmp_path: Path) -> None:
    pairs_at(tmp_path)
    prints = [
        by_hand(Paired, tmp_path, size=size, resize=r)
        for size in (8, 9)
        for r in ("crop", "resize")
    ]
    prints += [by_hand(Paired, tmp_path, channels=1), by_hand(Paired, tmp_path)]
    prints += [by_hand(Paired, tmp_path, source="B", target="A")]
    prints += [by_hand(Paired, tmp_path, side_by_side=True)]
    assert len(set(prints)) == len(prints)
    assert by_hand(Paired, tmp_path) == by_hand(Paired, tmp_path)
    save(tmp_path / "A" / "x0" / "a.png", colours(9, 9, 9))
    assert by_hand(Paired, tmp_path) not in prints
