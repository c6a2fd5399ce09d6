"""The handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sweeper.catalog.datasets.store import Example
from sweeper.catalog.families import datasets


@datasets.register(paper="alpaydin1998", provides={"images", "labels"})
class Digits:
    """1,797 real handwritten digits of 8x8 px in grey, ten classes; no download."""

    name = "digits"

    def fingerprint(self) -> str:
        return "sklearn digits, uint8"

    def __len__(self) -> int:
        return 1797

    def examples(self) -> Iterator[Example]:
        # Only packing reads them, and the import costs more than the rest of sweeper.
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        levels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
        yield from zip(levels, map(int, labels), strict=True)
