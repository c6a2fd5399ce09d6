"""The handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

import numpy as np
from PIL import Image

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.families import datasets
from sweeper.registry import Options


@cache
def load() -> tuple[np.ndarray, np.ndarray]:
    """All of them: images, uint8 (1797, 1, 8, 8), and labels (1797,)."""
    # Only packing reads them, and the import costs more than the rest of sweeper.
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8), labels


@datasets.register(paper="alpaydin1998", provides={"images", "labels"})
class Digits(Synthetic):
    """1,797 real handwritten digits of 8x8 px in grey, ten classes; no download.

    With a ``scale`` of 2 or 4 they are enlarged to 16x16 or 32x32 px, along lines between pixels.
    """

    name = "digits"
    classes = tuple("0123456789")

    def __init__(self, *, scale: Annotated[Literal[1, 2, 4], Options((1, 2, 4))] = 1) -> None:
        self.scale = scale

    def fingerprint(self) -> str:
        return "sklearn digits, uint8" + (f", times {self.scale}" if self.scale > 1 else "")

    def __len__(self) -> int:
        return 1797

    def __getitem__(self, index: int) -> Example:
        levels, labels = load()
        return Example(self.enlarged(levels[index]), int(labels[index]))

    def enlarged(self, levels: np.ndarray) -> np.ndarray:
        if self.scale == 1:
            return levels
        side = 8 * self.scale
        image = Image.fromarray(levels[0]).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(image)[None]
