"""Two folders of images that do not belong together."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import ImageFiles, images_in
from sweeper.catalog.datasets.images import Resize, read
from sweeper.catalog.families import datasets


@datasets.register(paper="zhu2017", provides={"images", "source", "unpaired"})
class TwoDomain(ImageFiles):
    """Images of two kinds as CycleGAN has them: G is given those of trainA, D sees those of trainB.

    ``source`` and ``target`` are other names of the folders. Which two stand together is drawn at
    random once, always alike, and the smaller folder is gone through several times. Images are
    prepared as those of ``folder``. Raises ValueError when a folder has none, or for one that
    cannot be read.
    """

    unpaired = True

    def __init__(
        self,
        *,
        path: str,
        size: Annotated[int, Ge(4)] = 32,
        channels: Literal[1, 3] = 3,
        resize: Resize = "crop",
        source: str = "trainA",
        target: str = "trainB",
    ) -> None:
        super().__init__(path=path, size=size, channels=channels, resize=resize)
        self.domains = source, target

    @cached_property
    def files(self) -> tuple[list[Path], list[Path]]:
        source, target = (images_in(self.path / domain) for domain in self.domains)
        order = np.random.default_rng(0).permutation(len(source))
        return [source[i] for i in order], target

    def fingerprint(self) -> str:
        source, target = self.files
        return self._digest([*source, *target], self.domains)

    def __len__(self) -> int:
        return max(map(len, self.files))

    def _pair(self, index: int) -> tuple[Path, Path]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        source, target = self.files
        return source[index % len(source)], target[index % len(target)]

    def _where(self, index: int) -> str:
        return " and ".join(map(str, self._pair(index)))

    def _read(self, index: int) -> Example:
        given, wanted = (
            read(file, str(file), self.preparation.image) for file in self._pair(index)
        )
        return Example(wanted, source=given)
