"""Convex polygons, of which it can be said exactly whether an image is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.families import datasets

SUBPIXEL = 8
"""Lines on which a pixel's coverage is measured."""


def coverage(polygons: np.ndarray, size: int) -> np.ndarray:
    """How much of each pixel is covered by convex polygons, (n, k, 2) in a square of side 1, as
    (n, size, size) in [0, 1].

    Along a line through a pixel the covered length is exact; a pixel has eight such lines.
    """
    start, end = size * polygons, size * np.roll(polygons, -1, 1)
    lines = ((np.arange(SUBPIXEL * size) + 0.5) / SUBPIXEL).astype(polygons.dtype)
    y0, y1 = start[..., 1, None], end[..., 1, None]
    crosses = (y0 <= lines) != (y1 <= lines)
    rise = np.where(crosses, y1 - y0, 1)
    x = start[..., 0, None] + (lines - y0) / rise * (end[..., 0, None] - start[..., 0, None])
    first = np.where(crosses, x, size).min(1)[..., None]
    last = np.where(crosses, x, 0).max(1)[..., None]
    pixels = np.arange(size, dtype=polygons.dtype)
    covered = np.clip(last - pixels, 0, 1) - np.clip(first - pixels, 0, 1)
    shares: np.ndarray = np.maximum(covered, 0).reshape(-1, size, SUBPIXEL, size).mean(2)
    return shares


@dataclass(frozen=True)
class Polygons:
    """All polygons of a kind, as the angles (n, k) of their corners on a circle of diameter
    ``scale``, in a square of side 1; the mean of the corners is moved to the square's middle.

    The circle can be turned so that each corner lies on its own of k equal arcs, at least
    ``margin`` (radians) from the arc's ends.
    """

    vertices: int
    margin: float
    scale: float

    @classmethod
    def of(cls, vertices: int, min_segment_angle: float, scale: float) -> Polygons:
        """Those whose corners are at least so many degrees apart, seen from the circle's centre.
        Raises ValueError where there are none."""
        if min_segment_angle > 360 / vertices:
            raise ValueError(
                f"min_segment_angle is at most 360 / vertices = {360 / vertices:g} degrees, "
                f"but got {min_segment_angle:g}"
            )
        return cls(vertices, math.radians(min_segment_angle) / 2, scale)

    @property
    def arcs(self) -> np.ndarray:
        """Where the arcs begin: (k,)."""
        return 2 * math.pi / self.vertices * np.arange(self.vertices)

    @property
    def room(self) -> float:
        """How much of its arc a corner has."""
        return 2 * (math.pi / self.vertices - self.margin)

    def drawn(self, random: np.random.Generator, n: int) -> np.ndarray:
        """Angles (n, k), each uniform on its arc, of a circle that is turned at random."""
        turns = random.uniform(0, 2 * math.pi, (n, 1))
        angles: np.ndarray = turns + random.uniform(0, self.room, (n, self.vertices)) + self.arcs
        return angles

    def clipped(self, angles: np.ndarray) -> np.ndarray:
        """The angles, moved to where they may be."""
        within = angles - self.arcs
        middle = (within.max(1, keepdims=True) + within.min(1, keepdims=True)) / 2
        clipped: np.ndarray = self.arcs + np.clip(
            within, middle - self.room / 2, middle + self.room / 2
        )
        return clipped

    def images(self, angles: np.ndarray, size: int) -> np.ndarray:
        """How much of each pixel they cover: (n, size, size) in [0, 1]."""
        on_circle = self.scale / 2 * np.stack([np.cos(angles), np.sin(angles)], -1)
        return coverage(on_circle - on_circle.mean(1, keepdims=True) + 0.5, size)


@datasets.register(paper="lucic2018", provides={"images"})
class Triangles(Synthetic):
    """Black triangles on white, or convex polygons of more corners; no download.

    Those of Lucic et al.: corners on a circle whose diameter is ``scale`` of the side, at least
    ``min_segment_angle`` degrees apart, the mean of the corners in the middle; at any angle (the
    paper's code turns them by at most 6 degrees), and with 28 px in the paper. What a generator
    makes of them can be judged exactly: ``polygon_precision_recall``. Raises ValueError where so
    many corners are not so far apart.
    """

    name = "triangles"
    classes: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        size: Annotated[int, Ge(8), Le(256)] = 32,
        vertices: Annotated[int, Ge(3), Le(12)] = 3,
        min_segment_angle: Annotated[float, Ge(0), Lt(120)] = 20.0,
        scale: Annotated[float, Gt(0), Le(0.75)] = 0.75,
        length: Annotated[int, Ge(1)] = 10_000,
        seed: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.size, self.length, self.seed = size, length, seed
        self.polygons = Polygons.of(vertices, min_segment_angle, scale)

    def fingerprint(self) -> str:
        return f"triangles {self.size} {self.polygons} {self.length} {self.seed}"

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        random = np.random.default_rng((self.seed, index))
        covered = self.polygons.images(self.polygons.drawn(random, 1), self.size)
        return Example(np.rint(255 * (1 - covered)).astype(np.uint8))
