"""Three handwritten digits as the colours of one image."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np
from annotated_types import Ge

from sweeper.catalog.datasets.digits import load
from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.families import datasets


@datasets.register(paper="metz2017", provides={"images", "labels"})
class StackedDigits(Synthetic):
    """Three digits of 8x8 px as red, green and blue: 1,000 modes, labelled by the three digits.

    The stacked MNIST of Metz et al., with scikit-learn's digits, which need no download.
    """

    name = "stacked_digits"
    classes = tuple(f"{i:03d}" for i in range(1000))

    def __init__(self, *, length: Annotated[int, Ge(1000)] = 20_000) -> None:
        self.length = length

    def fingerprint(self) -> str:
        return f"stacked sklearn digits, uint8, {self.length}"

    def __len__(self) -> int:
        return self.length

    @cached_property
    def _triples(self) -> np.ndarray:
        return np.random.default_rng(0).integers(1797, size=(self.length, 3))

    def __getitem__(self, index: int) -> Example:
        levels, labels = load()
        triple = self._triples[index]
        return Example(levels[triple, 0], int(labels[triple] @ (100, 10, 1)))
