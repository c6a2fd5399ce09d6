"""Folders of pairs of images."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from PIL import Image, ImageOps

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import ImageFiles, images_in, matched, together
from sweeper.catalog.datasets.images import Resize, read
from sweeper.catalog.families import datasets


@datasets.register(paper="isola2017", provides={"images", "source"})
class Paired(ImageFiles):
    """Pairs as pix2pix has them: what G is given in folder A, what it is to make of it in B.

    The two have the same names, but for their endings, and the same proportions. ``source`` and
    ``target`` are other names of the folders, or the other way round. With ``side_by_side``, both
    are halves of one image: A left, B right. Images are prepared as those of ``folder``. Raises
    ValueError for an image without its other, or one that cannot be read.
    """

    def __init__(
        self,
        *,
        path: str,
        size: Annotated[int, Ge(4)] = 32,
        channels: Literal[1, 3] = 3,
        resize: Resize = "crop",
        source: str = "A",
        target: str = "B",
        side_by_side: bool = False,
    ) -> None:
        super().__init__(path=path, size=size, channels=channels, resize=resize)
        self.sides, self.side_by_side = (source, target), side_by_side
        if side_by_side and sorted(self.sides) != ["A", "B"]:
            law = "side by side, source and target are A, left, and B, right"
            raise ValueError(f"{law}, but got {source} and {target}")

    @cached_property
    def files(self) -> list[tuple[Path, ...]]:
        """One file for each pair, or two."""
        if self.side_by_side:
            return [(file,) for file in images_in(self.path)]
        source, target = (self.path / side for side in self.sides)
        if not (source.is_dir() and target.is_dir()):
            law = f"pairs lie in the folders {source} and {target}"
            raise ValueError(
                f"{law}, but they are not there; side_by_side: true cuts images in two"
            )
        return list(matched(source, target))

    def fingerprint(self) -> str:
        files = [file for pair in self.files for file in pair]
        return self._digest(files, self.sides, self.side_by_side)

    def __len__(self) -> int:
        return len(self.files)

    def _where(self, index: int) -> str:
        return " and ".join(map(str, self.files[index]))

    def _read(self, index: int) -> Example:
        match self.files[index]:
            case (source, target):
                make = self.preparation.image
                given, wanted = together((source, target), (make, make))
            case (file,):
                given, wanted = read(file, str(file), self._halves)
        return Example(wanted, source=given)

    def _halves(self, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        image = ImageOps.exif_transpose(image)
        width, odd = divmod(image.width, 2)
        if odd:
            raise ValueError(f"two images side by side have an even width, but got {image.width}")
        left = self.preparation.image(image.crop((0, 0, width, image.height)))
        right = self.preparation.image(image.crop((width, 0, 2 * width, image.height)))
        return (left, right) if self.sides == ("A", "B") else (right, left)
