"""Folders of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import datasets


def save(path: Path, pixels: np.ndarray, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, **more)


def colours(height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_png_files_of_the_right_size_come_back_as_they_are(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "in" / f"{i}.png", colours(seed=i))
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    store = pack(datasets["folder"].make(path=str(tmp_path / "in"), size=8), tmp_path)
    assert (store.meta.name, store.meta.shape, store.labels) == ("in", (3, 8, 8), None)
    for i, image in enumerate(store[torch.arange(3)].numpy()):
        assert np.array_equal(image, colours(seed=i).transpose(2, 0, 1))


def test_folders_one_deeper_are_classes(tmp_path: Path) -> None:
    for label, name in enumerate(("cats", "dogs", "emus")):
        for i in range(label + 1):
            save(tmp_path / "in" / name / f"{i}.jpg", np.full((8, 8, 3), 80 * label), quality=95)
    store = pack(datasets["folder"].make(path=str(tmp_path / "in"), size=8), tmp_path)
    assert store.labels is not None
    assert store.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert store.meta.classes == 3
    levels = store[torch.arange(6)].float().mean((1, 2, 3))
    assert levels.tolist() == pytest.approx([0, 80, 80, 160, 160, 160], abs=2)


def test_one_folder_or_a_mix_of_depths_is_no_classes(tmp_path: Path) -> None:
    save(tmp_path / "one" / "all" / "a.png", colours())
    assert datasets["folder"].make(path=str(tmp_path / "one")).classes == ()
    for path in ("a.png", "x/b.png", "y/c.png"):
        save(tmp_path / "mixed" / path, colours())
    assert datasets["folder"].make(path=str(tmp_path / "mixed")).classes == ()


def test_an_image_is_cropped_to_its_central_square(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = colours()
    save(tmp_path / "a.png", wide)
    (example,) = datasets["folder"].make(path=str(tmp_path), size=8)
    image = example.image
    assert example.label is None
    assert np.array_equal(image, colours().transpose(2, 0, 1))


def test_an_image_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    save(tmp_path / "a.png", colours(), exif=exif)
    (example,) = datasets["folder"].make(path=str(tmp_path), size=8)
    image = example.image
    assert np.array_equal(image, colours()[::-1, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_becomes_colour_or_grey(
    mode: str, channels: int, tmp_path: Path
) -> None:
    Image.fromarray(np.full((9, 9, 3), 255, np.uint8)).convert(mode).save(tmp_path / "a.tiff")
    made = datasets["folder"].make(path=str(tmp_path), size=6, channels=channels)
    (example,) = made
    image = example.image
    assert image.shape == (channels, 6, 6)
    assert image.dtype == np.uint8
    assert image.min() >= 254


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_an_unreadable_file_is_named(ending: str, damage: str, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png", colours())
    bad = tmp_path / "in" / f"b.{ending}"
    save(bad, colours(64, 64))
    data = bad.read_bytes()
    bad.write_bytes({"cut": data[: len(data) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(ValueError, match="every image of a data set can be read") as raised:
        pack(datasets["folder"].make(path=str(tmp_path / "in"), size=8), tmp_path / "out")
    assert str(bad) in str(raised.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_image_with_too_many_pixels_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png", colours(32, 32))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"a\.png cannot"):
        list(datasets["folder"].make(path=str(tmp_path)))


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_images_is_refused(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    if there:
        folder.mkdir()
        (folder / "notes.txt").write_text("nothing here")
    with pytest.raises(ValueError, match="holds images") as raised:
        pack(datasets["folder"].make(path=str(folder)), tmp_path / "out")
    assert str(folder) in str(raised.value)


def test_images_are_colour_or_grey(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"channels\n.*should be 1 or 3.*input_value=2"):
        datasets["folder"].knobs.model_validate({"path": str(tmp_path), "channels": 2})


def test_a_changed_folder_is_packed_anew(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a.png", colours())
    first = pack(datasets["folder"].make(path=str(folder), size=8), tmp_path)
    save(folder / "b.png", colours(seed=1))
    second = pack(datasets["folder"].make(path=str(folder), size=8), tmp_path)
    assert (len(first), len(second)) == (1, 2)
    assert first.path != second.path
