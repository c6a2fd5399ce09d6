"""What all data sets that are read from files share."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from PIL import Image

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.images import ENDINGS, Preparation, Resize, read, upright_size

LOOKED_AT = 50
"""Images whose sizes are looked at."""


class ImageFiles:
    """A data set at a path, whose images are all prepared in one way and come out in one shape."""

    unpaired = False

    def __init__(
        self,
        *,
        path: str,
        size: Annotated[int, Ge(4)] = 32,
        channels: Literal[1, 3] = 3,
        resize: Resize = "crop",
    ) -> None:
        self.path = Path(path).expanduser().resolve()
        self.preparation = Preparation(size, channels, resize)

    @property
    def name(self) -> str:
        return plain(self.path.name.partition(".")[0] if self.path.is_file() else self.path.name)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def recipe(self) -> dict[str, str | int | bool]:
        return self.preparation.recipe

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Example:
        example = self._read(index)
        if (found := _shapes(example)) != self._first:
            law = "all examples have the shapes of the first"
            asked = "; resize: crop or resize gives them one"
            raise ValueError(f"{law}, {self._first}, but {self._where(index)} has {found}{asked}")
        return example

    def side(self) -> int:
        """The side, in px, that suits the images: the largest power of two, from 8 to 64, that half
        of some of them reach. Raises ValueError for one that cannot be read."""
        whole = copy(self)
        whole.preparation = replace(self.preparation, resize="none")
        some = range(0, len(self), -(-len(self) // LOOKED_AT))
        shorter: list[int] = sorted(min(whole._read(i).image.shape[1:]) for i in some)
        return max(8, min(64, 1 << (shorter[len(shorter) // 2].bit_length() - 1)))

    def _read(self, index: int) -> Example:
        raise NotImplementedError

    def _where(self, index: int) -> str:
        """What an example is called in an error."""
        raise NotImplementedError

    @cached_property
    def _first(self) -> str:
        return _shapes(self._read(0))

    def _digest(self, files: Iterable[Path], *more: object) -> str:
        """A hash of how images are prepared, and of the names, sizes and times of files."""
        digest = hashlib.sha256(f"{self.preparation} {more}".encode())
        for file in files:
            status = file.stat()
            line = f"{file.relative_to(self.path)} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def plain(text: str) -> str:
    """A name that can be a folder's anywhere."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in text)[:40] or "images"


def is_image(path: Path) -> bool:
    """Whether a path is called like an image, and neither it nor a folder on it is hidden."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in ENDINGS and not hidden


def images_in(folder: Path) -> list[Path]:
    """The images below a folder, sorted. Raises ValueError when there is none."""
    found = sorted(f for f in folder.rglob("*") if is_image(f.relative_to(folder)) and f.is_file())
    if not found:
        law = f"a data folder holds images ({', '.join(sorted(ENDINGS))})"
        raise ValueError(f"{law}, but {folder} holds none")
    return found


NOTED = "dataset.json"
"""Where the tools of StyleGAN note the labels of images, in folders of a thousand each."""


def labels_of(
    paths: Sequence[Path], folders: Sequence[Path], noted: bytes | None, where: str
) -> tuple[tuple[str, ...], list[int]]:
    """The classes of images at some paths, and the label of each; none if they have none.

    They are as noted, where there is a dataset.json. Else the images' ``folders`` are their
    classes, if all are one deep and there is more than one. Raises ValueError for a note that is
    not as StyleGAN's tools write it, or lacks an image.
    """
    if noted is not None:
        try:
            labels = json.loads(noted)["labels"]
            by_path = {Path(name): operator.index(label) for name, label in labels or ()}
            found = [by_path[path] for path in paths] if labels else []
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            law = 'has "labels": null, or a list of every image with its class, as a number'
            raise ValueError(f"a {NOTED} {law}, but that of {where}: {error!r}") from error
        if found and min(found) < 0:
            raise ValueError(f"classes are counted from 0, but {NOTED} of {where} has {min(found)}")
        return tuple(map(str, range(max(found, default=-1) + 1))), found
    if not all(len(folder.parts) == 1 for folder in folders) or len(set(folders)) == 1:
        return (), []
    classes = sorted({folder.name for folder in folders})
    numbers = {name: number for number, name in enumerate(classes)}
    return tuple(classes), [numbers[folder.name] for folder in folders]


def matched(first: Path, second: Path) -> list[tuple[Path, Path]]:
    """The images below two folders that have the same names but for their endings. Raises
    ValueError for one that is alone, or one of two in the same folder."""
    named = {}
    for folder in (first, second):
        files = images_in(folder)
        named[folder] = {file.relative_to(folder).with_suffix(""): file for file in files}
        if len(named[folder]) < len(files):
            twice = next(f for f in files if f not in named[folder].values())
            law = "images that belong together have the same name but for its ending"
            raise ValueError(f"{law}, but there is another one beside {twice}")
    for one, other in ((first, second), (second, first)):
        alone = sorted(named[one].keys() - named[other].keys())
        if alone:
            more = f" (nor for {len(alone) - 1} more)" if len(alone) > 1 else ""
            law = "each image has one of the same name to belong to"
            raise ValueError(f"{law}, but {other} has none for {named[one][alone[0]]}{more}")
    return [(file, named[second][name]) for name, file in named[first].items()]


def measured(
    make: Callable[[Image.Image], np.ndarray],
) -> Callable[[Image.Image], tuple[np.ndarray, tuple[int, int]]]:
    """What makes the same of an image, and its size beside it."""
    return lambda image: (make(image), upright_size(image))


def together(
    pair: tuple[Path, Path],
    makes: tuple[Callable[[Image.Image], np.ndarray], Callable[[Image.Image], np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Two images of one scene, each made in its way. Raises ValueError when they do not have the
    same proportions: then they would not be cropped in the same place."""
    (first, one), (second, other) = (
        read(file, str(file), measured(make)) for file, make in zip(pair, makes, strict=True)
    )
    # Sizes are whole, so that sides differ by a pixel where one image was shrunk.
    if abs(one[0] * other[1] - one[1] * other[0]) > max(*one, *other):
        law = "images that belong together have the same proportions"
        sizes = " and ".join(
            f"{f} has {w} x {h}" for f, (w, h) in zip(pair, (one, other), strict=True)
        )
        raise ValueError(f"{law}, but {sizes}")
    return first, second


def _shapes(example: Example) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in example.arrays().items())
