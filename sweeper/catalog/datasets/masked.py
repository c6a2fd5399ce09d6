"""A folder of images and one of their masks."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from sweeper.catalog.datasets.example import Example
from sweeper.catalog.datasets.files import ImageFiles, matched, together
from sweeper.catalog.datasets.images import Resize
from sweeper.catalog.families import datasets


@datasets.register(provides={"images", "mask"})
class Masked(ImageFiles):
    """Images in one folder and, of the same names but for their endings, masks in another.

    ``images`` and ``masks`` are the folders' names. A mask is white, or any other level but 0 where
    those are few, inside. It is prepared as its image, whose proportions it has, and as those of
    ``folder`` are. Raises ValueError for an image without a mask, or one that cannot be read.
    """

    def __init__(
        self,
        *,
        path: str,
        size: Annotated[int, Ge(4)] = 32,
        channels: Literal[1, 3] = 3,
        resize: Resize = "crop",
        images: str = "images",
        masks: str = "masks",
    ) -> None:
        super().__init__(path=path, size=size, channels=channels, resize=resize)
        self.folders = images, masks

    @cached_property
    def files(self) -> list[tuple[Path, Path]]:
        images, masks = (self.path / folder for folder in self.folders)
        return matched(images, masks)

    def fingerprint(self) -> str:
        return self._digest((file for pair in self.files for file in pair), self.folders)

    def __len__(self) -> int:
        return len(self.files)

    def _where(self, index: int) -> str:
        return " and ".join(map(str, self.files[index]))

    def _read(self, index: int) -> Example:
        makes = self.preparation.image, self.preparation.mask
        image, mask = together(self.files[index], makes)
        return Example(image, mask=mask)
