"""Any folder of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from PIL import Image, ImageOps

from sweeper.catalog.datasets.store import Example
from sweeper.catalog.families import datasets

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})


@datasets.register(provides={"images"})
class Folder:
    """A folder of images; if all lie one folder deeper, those folders are the classes.

    Each image is turned upright, cropped to its central square and resized to ``size`` px (Lanczos,
    antialiased), as RGB, or grey with ``channels: 1``. Raises ValueError when there is no image, or
    one that cannot be read.
    """

    def __init__(
        self, *, path: str, size: Annotated[int, Ge(4)] = 32, channels: Annotated[int, Ge(1)] = 3
    ) -> None:
        self.root, self.size, self.channels = Path(path).expanduser().resolve(), size, channels
        if channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, but got channels={channels}")

    @property
    def name(self) -> str:
        return (
            "".join(c if c.isalnum() or c in "-_" else "_" for c in self.root.name)[:40] or "folder"
        )

    @cached_property
    def files(self) -> list[Path]:
        found = sorted(
            f for f in self.root.rglob("*") if f.suffix.lower() in ENDINGS and f.is_file()
        )
        if not found:
            raise ValueError(
                f"a data folder holds images ({', '.join(sorted(ENDINGS))}), "
                f"but {self.root} holds none"
            )
        return found

    @cached_property
    def classes(self) -> dict[str, int]:
        folders = {f.parent for f in self.files}
        deeper = (
            self.root not in folders
            and all(f.parent == self.root for f in folders)
            and len(folders) > 1
        )
        return {f.name: i for i, f in enumerate(sorted(folders))} if deeper else {}

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.size} {self.channels}".encode())
        for file in self.files:
            status = file.stat()
            digest.update(
                f"{file.relative_to(self.root)} {status.st_size} {status.st_mtime_ns}\n".encode()
            )
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.files)

    def examples(self) -> Iterator[Example]:
        for file in self.files:
            yield self._read(file), self.classes.get(file.parent.name) if self.classes else None

    def _read(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened).convert(
                    "L" if self.channels == 1 else "RGB"
                )
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"every image of a data folder can be read, but {file} cannot: {error}"
            ) from error
        square = ImageOps.fit(image, (self.size, self.size), Image.Resampling.LANCZOS)
        return (
            np.asarray(square, np.uint8)
            .reshape(self.size, self.size, self.channels)
            .transpose(2, 0, 1)
        )
