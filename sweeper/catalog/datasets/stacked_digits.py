"""Three handwritten digits as the colours of one image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from annotated_types import Ge

from sweeper.catalog.datasets.store import Example
from sweeper.catalog.families import datasets


@datasets.register(paper="metz2017", provides={"images", "labels"})
class StackedDigits:
    """Three digits of 8x8 px as red, green and blue: 1,000 modes, labelled by the three digits.

    The stacked MNIST of Metz et al., with scikit-learn's digits, which need no download.
    """

    name = "stacked_digits"

    def __init__(self, *, length: Annotated[int, Ge(1000)] = 20_000) -> None:
        self.length = length

    def fingerprint(self) -> str:
        return f"stacked sklearn digits, uint8, {self.length}"

    def __len__(self) -> int:
        return self.length

    def examples(self) -> Iterator[Example]:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        levels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        random = np.random.default_rng(0)
        for triple in random.integers(len(levels), size=(self.length, 3)):
            yield levels[triple], int(labels[triple] @ (100, 10, 1))
