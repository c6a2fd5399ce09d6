"""A ring of Gaussians in the plane."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.families import datasets


@datasets.register(paper="metz2017", provides={"points", "labels"})
class Ring(Synthetic):
    """Points in the plane from Gaussians evenly spaced on a circle, labelled by their Gaussian."""

    name = "ring"

    def __init__(
        self,
        *,
        modes: Annotated[int, Ge(2)] = 8,
        radius: Annotated[float, Gt(0)] = 1.0,
        deviation: Annotated[float, Gt(0)] = 0.02,
        length: Annotated[int, Ge(100)] = 10_000,
    ) -> None:
        self.modes, self.radius, self.deviation, self.length = modes, radius, deviation, length

    def fingerprint(self) -> str:
        return f"ring {self.modes} {self.radius} {self.deviation} {self.length}"

    def __len__(self) -> int:
        return self.length

    @property
    def centres(self) -> np.ndarray:
        """Where the Gaussians are: (modes, 2)."""
        angles = 2 * np.pi * np.arange(self.modes) / self.modes
        return self.radius * np.stack([np.cos(angles), np.sin(angles)], 1)

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
