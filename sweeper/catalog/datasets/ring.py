"""A ring of Gaussians in the plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt

from sweeper.catalog.datasets.store import Example
from sweeper.catalog.families import datasets


@datasets.register(paper="metz2017", provides={"points", "labels"})
class Ring:
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

    def examples(self) -> Iterator[Example]:
        random = np.random.default_rng(0)
        labels = np.arange(self.length) % self.modes
        centres = self.centres[labels]
        points = centres + self.deviation * random.standard_normal(centres.shape)
        yield from zip(points.astype(np.float32), map(int, labels), strict=True)
