"""A grid of Gaussians in the plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from sweeper.catalog.datasets.store import Example
from sweeper.catalog.families import datasets


@datasets.register(paper="lin2018", provides={"points", "labels"})
class Grid:
    """Points in the plane from Gaussians on a square grid around 0, labelled by their Gaussian."""

    name = "grid"

    def __init__(
        self,
        *,
        side: Annotated[int, Ge(2)] = 5,
        spacing: Annotated[float, Gt(0)] = 2.0,
        deviation: Annotated[float, Gt(0)] = 0.05,
        length: Annotated[int, Ge(100)] = 10_000,
    ) -> None:
        self.side, self.spacing, self.deviation, self.length = side, spacing, deviation, length

    def fingerprint(self) -> str:
        return f"grid {self.side} {self.spacing} {self.deviation} {self.length}"

    def __len__(self) -> int:
        return self.length

    @property
    def centres(self) -> np.ndarray:
        """Where the Gaussians are: (side², 2)."""
        ticks = self.spacing * (np.arange(self.side) - (self.side - 1) / 2)
        return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)

    def examples(self) -> Iterator[Example]:
        random = np.random.default_rng(0)
        labels = np.arange(self.length) % self.side**2
        centres = self.centres[labels]
        points = centres + self.deviation * random.standard_normal(centres.shape)
        yield from zip(points.astype(np.float32), map(int, labels), strict=True)
