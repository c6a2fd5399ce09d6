"""Precision and recall where they can be computed exactly: of convex polygons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from sweeper.catalog.datasets.triangles import Polygons
from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown

KEYS = ("polygon_precision", "polygon_recall", "polygon_f1")
KNOWN, STARTS, STEPS, NUDGE = 4096, 3, 8, 1e-3
"""The nearest polygon is looked for among so many, then, from so many of the nearest, in so many
steps, whose slopes are differences over so many radians."""

GAIN = 0.999
"""The part of the distance that a step leaves at most, if another is to follow."""

PROBES = 1024
"""How many of them are asked for their distance from the others."""

CHUNK = 256
"""Images that are looked at together."""

LAW = 100_000
"""Polygons drawn to learn how often each has its corners in which sectors."""

CHECKED, KIND = 64, 0.9
"""So many real examples are looked at, of which such a share have to be polygons of the kind."""


@metrics.register(paper="lucic2018")
def polygon_precision_recall(
    compared: Compared,
    *,
    vertices: Annotated[int, Ge(3), Le(12)] = 3,
    min_segment_angle: Annotated[float, Ge(0), Lt(120)] = 20.0,
    scale: Annotated[float, Gt(0), Le(0.75)] = 0.75,
    within: Annotated[float, Gt(0)] = 0.75,
    sectors: Annotated[int, Ge(3), Le(16)] = 8,
    samples: Annotated[int, Ge(1)] = 1024,
) -> dict[str, float]:
    """How many fakes are polygons of the data's kind, and how many of those there are among them.

    For ``triangles``, whose knobs the first three are. Precision is the share of the first
    ``samples`` fakes whose squared distance from the nearest polygon, over pixels in [0, 1], is at
    most ``within``; it is found by Levenberg-Marquardt steps from the nearest of 4,096, where the
    paper takes gradient steps from random ones. The paper's recall inverts the generator. Here,
    where there are only images, it is the probability that a polygon of the data has its corners in
    the same ``sectors`` of the circle as one of the precise fakes: near 1 for as many real ones.
    NaN for data of another kind.
    """
    polygons = Polygons.of(vertices, min_segment_angle, scale)
    real, fake = compared.real.examples[:CHECKED], compared.fake.examples[:samples]
    square = fake.ndim == 4 and fake.shape[1] == 1 and fake.shape[2] == fake.shape[3]
    if not (compared.finite and square and len(real) and len(fake)):
        return unknown(*KEYS)
    known = known_of(polygons, fake.shape[2])
    if np.mean(known.nearest(covered(real), within).distance <= within) < KIND:
        return unknown(*KEYS)
    found = known.nearest(covered(fake), within)
    near = found.distance <= within
    precision, recall = float(near.mean()), share(found.angles[near], polygons, sectors)
    both = precision + recall
    return dict(
        zip(KEYS, (precision, recall, 2 * precision * recall / both if both else 0.0), strict=True)
    )


def covered(examples: Tensor) -> np.ndarray:
    """Images of polygons, (n, 1, H, W), black (-1) on white (1), as how much of each pixel is
    covered: (n, H * W)."""
    share: np.ndarray = (1 - examples.flatten(1).double().cpu().numpy()) / 2
    return share


def share(angles: np.ndarray, polygons: Polygons, sectors: int) -> float:
    """The probability that a polygon of the data has its corners in the same sectors as one of
    those with these angles (n, k)."""
    drawn = polygons.drawn(np.random.default_rng(0), LAW)
    return float(np.isin(_sectors(drawn, sectors), _sectors(angles, sectors)).mean())


def _sectors(angles: np.ndarray, sectors: int) -> np.ndarray:
    """A number (n,) for each way in which corners can lie in sectors."""
    which = np.floor(angles / (2 * np.pi) * sectors).astype(int) % sectors
    counts = (which[:, :, None] == np.arange(sectors)).sum(1)
    code: np.ndarray = counts @ (angles.shape[1] + 1) ** np.arange(sectors)
    return code


class Nearest(NamedTuple):
    """The angles (n, k) of the nearest polygons, and their squared distances (n,)."""

    angles: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Known:
    """Polygons, their images (m, pixels), and how far another one can be from the nearest."""

    polygons: Polygons
    size: int
    angles: np.ndarray
    images: np.ndarray
    reach: float

    def nearest(self, images: np.ndarray, within: float) -> Nearest:
        """The nearest polygons of all to images (n, pixels): exact for those that have one at a
        squared distance of ``within``, for others any near one."""
        parts = [
            self._nearest(part, within)
            for part in np.split(images, range(CHUNK, len(images), CHUNK))
        ]
        return Nearest(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _nearest(self, images: np.ndarray, within: float) -> Nearest:
        apart = squared(images, self.images)
        starts = np.argsort(apart, 1)[:, :STARTS]
        angles, distance = self.angles[starts[:, 0]], apart.min(1)
        # By the triangle inequality nothing further from all that are known can be near another.
        hopeful = distance <= (self.reach + within**0.5) ** 2
        for start in starts.T:
            left = np.flatnonzero(hopeful & (distance > within))
            if len(left):
                tried = self._descend(self.angles[start[left]], images[left])
                better = tried.distance < distance[left]
                angles[left[better]] = tried.angles[better]
                distance[left[better]] = tried.distance[better]
        return Nearest(angles, distance)

    def _descend(self, angles: np.ndarray, images: np.ndarray) -> Nearest:
        """Levenberg-Marquardt steps from some angles on, until they gain little."""
        residual = self._drawn(angles) - images
        distance, damping = (residual**2).sum(1), np.ones(len(angles))
        moving = np.arange(len(angles))
        for _ in range(STEPS):
            if not len(moving):
                break
            tried = self._step(angles[moving], residual[moving], images[moving], damping[moving])
            left = self._drawn(tried) - images[moving]
            found = (left**2).sum(1)
            better, worth = found < distance[moving], found < GAIN * distance[moving]
            damping[moving] *= np.where(better, 0.2, 5.0)
            rows = moving[better]
            angles[rows], residual[rows], distance[rows] = (
                tried[better],
                left[better],
                found[better],
            )
            moving = moving[worth | ~better]
        return Nearest(angles, distance)

    def _step(
        self, angles: np.ndarray, residual: np.ndarray, images: np.ndarray, damping: np.ndarray
    ) -> np.ndarray:
        one = np.eye(angles.shape[1])
        moved = np.stack([self._drawn(angles + nudge) for nudge in NUDGE * one], 1)
        slopes = (moved - (residual + images)[:, None]) / NUDGE
        normal = slopes @ slopes.transpose(0, 2, 1) + damping[:, None, None] * one
        step = np.linalg.solve(normal, slopes @ residual[:, :, None])[:, :, 0]
        return self.polygons.clipped(angles - step)

    def _drawn(self, angles: np.ndarray) -> np.ndarray:
        return self.polygons.images(angles, self.size).reshape(len(angles), -1)


@lru_cache(maxsize=2)
def known_of(polygons: Polygons, size: int) -> Known:
    """As many polygons of a kind as the nearest of all is looked for from."""
    angles = polygons.drawn(np.random.default_rng(0), KNOWN)
    images = polygons.images(angles, size).reshape(KNOWN, -1)
    others = squared(images[:PROBES], images)
    np.fill_diagonal(others, np.inf)
    return Known(polygons, size, angles, images, float(others.min(1).max()) ** 0.5)


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) between the rows of a (n, d) and b (m, d)."""
    products = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    apart: np.ndarray = np.maximum(products, 0)
    return apart
