"""Any folder of images."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import NOTED, ImageFiles, images_in, labels_of
from sweeper.catalog.datasets.images import read
from sweeper.catalog.families import datasets


@datasets.register(provides={"images"})
class Folder(ImageFiles):
    """A folder of images; if all lie one folder deeper, those folders are the classes.

    Each image is turned upright and, unless ``resize`` says otherwise, cropped to its central
    square and resized to ``size`` px (Lanczos, antialiased), as RGB, or grey with ``channels: 1``.
    A ``dataset.json`` as StyleGAN's tools write it goes before folders. What is hidden is left out.
    Raises ValueError when there is no image, or one that cannot be
    read.
    """

    @cached_property
    def files(self) -> list[Path]:
        return images_in(self.path)

    @cached_property
    def _labelled(self) -> tuple[tuple[str, ...], list[int]]:
        paths = [file.relative_to(self.path) for file in self.files]
        noted = self._noted.read_bytes() if self._noted.is_file() else None
        return labels_of(paths, [path.parent for path in paths], noted, str(self.path))

    @property
    def _noted(self) -> Path:
        return self.path / NOTED

    @property
    def classes(self) -> tuple[str, ...]:
        return self._labelled[0]

    def fingerprint(self) -> str:
        return self._digest([*self.files, *([self._noted] if self._noted.is_file() else [])])

    def __len__(self) -> int:
        return len(self.files)

    def _where(self, index: int) -> str:
        return str(self.files[index])

    def _read(self, index: int) -> Example:
        file = self.files[index]
        label = self._labelled[1][index] if self.classes else None
        return Example(read(file, str(file), self.preparation.image), label)
