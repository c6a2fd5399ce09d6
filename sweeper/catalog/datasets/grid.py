"""A grid of Gaussians in the plane."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.families import datasets


@datasets.register(paper="lin2018", provides={"points", "labels"})
class Grid(Synthetic):
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

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self.centres))))

    @cached_property
    def _points(self) -> np.ndarray:
        random = np.random.default_rng(0)
        centres = self.centres[np.arange(self.length) % len(self.centres)]
        noise = self.deviation * random.standard_normal(centres.shape)
        return (centres + noise).astype(np.float32)

    def __getitem__(self, index: int) -> Example:
        return Example(self._points[index], index % len(self.centres))
