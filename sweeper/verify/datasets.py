"""Data sets that are drawn: what stands beside an image, and shapes of known area and distance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sweeper.catalog.datasets.glyphs import COARSER, INKED, Glyphs, drawn
from sweeper.catalog.datasets.triangles import Polygons, Triangles
from sweeper.catalog.metrics.compared import Compared, Side
from sweeper.catalog.metrics.polygon_precision_recall import (
    known_of,
    polygon_precision_recall,
    share,
)
from sweeper.verify.claims import Claim, check

FEW = 60
KIND = Polygons.of(3, 20.0, 0.75)


def unlike(a: np.ndarray | None, b: np.ndarray | None) -> int:
    """How many numbers of two arrays differ."""
    assert a is not None
    assert b is not None
    return int((a != b).sum())


@check("glyphs")
def glyphs() -> Iterator[Claim]:
    kinds = {task: Glyphs(task=task, channels=3) for task in ("plain", "masks", "triples")}
    again = Glyphs(channels=3)
    differ = sum(unlike(kinds["plain"][i].image, again[i].image) for i in reversed(range(FEW)))
    yield Claim("levels that differ when drawn again, in another order", differ, 0, 0)
    pairs = Counter(map(again.pair, range(len(again))))
    yield Claim("examples of each character and font", max(pairs.values()), min(pairs.values()), 0)
    wrong = sum(again.classes[again[i].label or 0] != again.pair(i)[0] for i in range(FEW))
    yield Claim("labels that are not the character", wrong, 0, 0)
    sheets = [again.sheet(i) for i in range(FEW)]
    pixels = sum(
        unlike(kinds["masks"][i].mask, np.where(s.ink() >= INKED, 255, 0)[None])
        for i, s in enumerate(sheets)
    )
    yield Claim("pixels at which the mask is not the ink", pixels, 0, 0)
    others = sum(
        unlike(kinds["triples"][i].image, kinds["plain"][i].image) + (s.other == s.character)
        for i, s in enumerate(sheets)
    )
    yield Claim("triples whose target is another, or whose style shows it", others, 0, 0)
    yield from _sources()


def _sources() -> Iterator[Claim]:
    """What G is given, and what it is to make of it."""
    thin, low, holed = (
        Glyphs(task=task) for task in ("thin_to_bold", "low_to_high", "holes_to_whole")
    )
    bolder = moved = 0
    for index in range(FEW):
        example, sheet = thin[index], thin.sheet(index)
        assert example.source is not None
        bolder += example.image.sum() > example.source.sum()
        moved += unlike(
            example.source[0], drawn(sheet.font, sheet.character, sheet.size, sheet.pose)
        )
    yield Claim("bold faces that have more ink than the thin", bolder, FEW, 0)
    yield Claim("pixels at which a thin face is not drawn as its bold one is placed", moved, 0, 0)
    gaps = list[float]()
    for index in range(FEW):
        example = low[index]
        assert example.source is not None
        blocks = example.image[0].reshape(32 // COARSER, COARSER, 32 // COARSER, COARSER)
        gaps.append(np.abs(blocks.mean((1, 3)) - example.source[0, ::COARSER, ::COARSER]).max())
    yield Claim("levels between a block and the mean of its pixels", max(gaps), 0, 0.5)
    outside = 0
    for index in range(FEW):
        example = holed[index]
        assert example.source is not None
        assert example.mask is not None
        outside += int(((example.source != example.image) & (example.mask == 0)).sum())
    yield Claim("pixels outside of the holes that differ", outside, 0, 0)


@check("triangles")
def triangles() -> Iterator[Claim]:
    angles = KIND.drawn(np.random.default_rng(0), 2000)
    gaps = np.diff(angles, append=angles[:, :1] + 2 * math.pi)
    least = math.degrees(gaps.min())
    yield Claim("degrees between two corners of 2,000, at least 20", max(least, 20.0), least, 0)
    yield Claim("degrees that the three gaps make", math.degrees(gaps.sum(1).max()), 360)
    a, b, c = gaps.T
    area = 0.375**2 / 2 * (np.sin(a) + np.sin(b) + np.sin(c))
    covered = KIND.images(angles, 64).mean((1, 2))
    worst = float(np.abs(covered - area).max())
    yield Claim("the area that pixels of 1/64 cover, less R²/2 Σ sin gap", worst, 0, 5e-4)
    middle = (np.arange(64) + 0.5) / 64
    images = KIND.images(angles, 64)
    across = (images.sum(1) * middle).sum(1) / images.sum((1, 2))
    yield Claim(
        "how far the middle of mass is from the image's", np.abs(across - 0.5).max(), 0, 1e-3
    )
    turned = KIND.images(angles + math.pi / 2, 32) - np.rot90(KIND.images(angles, 32), -1, (1, 2))
    yield Claim("pixels of a triangle turned by 90°", float(np.abs(turned).max()), 0, 0.1)
    data = Triangles(size=28)
    differ = sum(unlike(data[i].image, Triangles(size=28)[i].image) for i in range(FEW))
    yield Claim("levels that differ when drawn again", differ, 0, 0)


def side(examples: Tensor) -> Side:
    return Side(examples, examples.flatten(1))


def shown(data: Triangles, first: int, n: int) -> Tensor:
    """Some examples as networks see them."""
    images = np.stack([data[i].image for i in range(first, first + n)])
    return torch.from_numpy(images).float() / 127.5 - 1


@check("polygon_precision_recall")
def precision_and_recall() -> Iterator[Claim]:
    data = Triangles()
    real, fake = side(shown(data, 0, 64)), shown(data, 64, 300)

    def measured(x: Tensor) -> tuple[float, float]:
        values = polygon_precision_recall(Compared(real, side(x)))
        return values["polygon_precision"], values["polygon_recall"]

    whole = measured(fake)
    yield Claim("precision of 300 other triangles", whole[0], 1, 0)
    yield Claim("their recall", whole[1], 0.95, 0.03)
    noise = torch.rand(50, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    yield Claim("precision of noise", measured(noise)[0], 0, 0)
    yield Claim(
        "precision of as many triangles as noise",
        measured(torch.cat([fake[:50], noise]))[0],
        0.5,
        0,
    )
    one = share(KIND.drawn(np.random.default_rng(3), 1), KIND, 8)
    yield Claim("recall of one triangle, over and over, at most 5 %", max(one, 0.05), 0.05, 0)
    corner = np.zeros((32, 32))
    corner[0, 0] = 0.8
    spotted = KIND.images(KIND.drawn(np.random.default_rng(4), 40), 32) + corner
    found = known_of(KIND, 32).nearest(spotted.reshape(40, -1), 0.0)
    yield Claim(
        "squared distance of one with a spot of 0.8", float(np.median(found.distance)), 0.64
    )
    square = Polygons.of(4, 20.0, 0.75).images(np.arange(4)[None] * math.pi / 2, 32)
    far = known_of(KIND, 32).nearest(square.reshape(1, -1), 0.75).distance
    yield Claim("whether a square is a triangle", float(far[0] <= 0.75), 0, 0)
