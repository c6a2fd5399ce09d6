"""Random changes of images, each drawn for every image of a batch (N, C, H, W) by itself.

All of them are differentiable, and twice so: penalties on D's slope look through them. None
multiplies matrices, which reduced precision would round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from torch import Tensor

from sweeper.game import ALONE, Ranks


@dataclass(frozen=True)
class Draw:
    """Random numbers for each image, in the shape (N, 1, 1, 1).

    What is drawn for an image is used with a ``chance``; otherwise it is ``unless``, the value that
    changes nothing.
    """

    like: Tensor
    random: torch.Generator
    chance: Tensor | float = 1.0
    ranks: Ranks = ALONE

    def unit(self, n: int = 1) -> Tensor:
        """``n`` numbers uniform in [0, 1)."""
        return self.each(n, lambda empty: empty.uniform_(generator=self.random))

    def normal(self, n: int = 1) -> Tensor:
        """``n`` numbers from the standard normal distribution."""
        return self.each(n, lambda empty: empty.normal_(generator=self.random))

    def each(self, n: int, fill: Callable[[Tensor], Tensor]) -> Tensor:
        """``n`` numbers for each image."""
        return self.ranks.drawn(
            len(self.like), lambda images: fill(self.like.new_empty(images, n, 1, 1))
        )

    def choice(self, n: int) -> Tensor:
        """A whole number below ``n``."""
        return (n * self.unit()).floor()

    def or_else(self, drawn: Tensor, unless: float) -> Tensor:
        """What was drawn, or what changes nothing."""
        return torch.where(self.unit() < self.chance, drawn, unless)


# The three of DiffAugment.


def colored(x: Tensor, draw: Draw) -> Tensor:
    """Another brightness, by up to ½; saturation, up to twofold; and contrast, from ½ to 3/2."""
    x = x + (draw.unit() - 0.5)
    x = about(x.mean(1, keepdim=True), x, 2 * draw.unit())
    return about(x.mean((1, 2, 3), keepdim=True), x, draw.unit() + 0.5)


def translated(x: Tensor, draw: Draw) -> Tensor:
    """Shifted by whole pixels, up to an eighth of the sides each way; zeros come in."""
    sides = x.shape[2:]
    most = [int(side / 8 + 0.5) for side in sides]
    rows, columns = (
        torch.arange(side, device=x.device) + (draw.choice(2 * m + 1) - m).long().flatten(1)
        for side, m in zip(sides, most, strict=True)
    )
    inside = within(rows, sides[0])[:, None, :, None] & within(columns, sides[1])[:, None, None, :]
    each = torch.arange(len(x), device=x.device)[:, None, None]
    rows, columns = rows.clamp(0, sides[0] - 1), columns.clamp(0, sides[1] - 1)
    moved = x.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return moved * inside


def cut_out(x: Tensor, draw: Draw) -> Tensor:
    """Without a rectangle of half their sides, around a random pixel, where they become zero."""
    height, width = x.shape[2:]
    rows, columns = (
        covered(side, draw.choice(side + 1 - int(side / 2 + 0.5) % 2).flatten(1))
        for side in (height, width)
    )
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def covered(side: int, middle: Tensor) -> Tensor:
    """Which pixels of a side half of it covers, around a middle (N, 1): (N, side)."""
    size = int(side / 2 + 0.5)
    start = middle - size // 2
    at = torch.arange(side, device=middle.device)
    return (at >= start) & (at < start + size)


def within(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)


def about(middle: Tensor, x: Tensor, scale: Tensor) -> Tensor:
    """Distances from a middle, scaled; by 1, they are bit by bit what they were."""
    return x + (x - middle) * (scale - 1)


# The pipeline of adaptive discriminator augmentation.

Affine = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""A map of the plane around the middle of an image, (x, y) to (ax + by + c, dx + ey + f): where
each place of a changed image comes from. Each number is (N, 1, 1, 1)."""


def blitted(draw: Draw, height: int, width: int) -> list[Affine]:
    """Mirrored left to right, turned by quarters, shifted by whole pixels up to an eighth of the
    sides."""
    mirror = draw.or_else(1 - 2 * draw.choice(2), 1.0)
    turn = draw.or_else(draw.choice(4), 0.0)
    cos, sin = (2 - turn).abs() - 1, 1 - (1 - turn).abs()
    shift = draw.or_else((2 * draw.unit(2) - 1) / 8, 0.0)
    return [
        scaling(mirror, torch.ones_like(mirror)),
        turning(cos, sin),
        shifting((shift[:, :1] * width).round(), (shift[:, 1:] * height).round()),
    ]


def deformed(draw: Draw, height: int, width: int) -> list[Affine]:
    """Scaled, turned by any angle, stretched along an axis, turned again, and shifted by fractions
    of a pixel.

    Each turn has the chance 1 - √(1 - p), so that one of them happens with chance p.
    """
    seldom = replace(draw, chance=1 - (1 - draw.chance) ** 0.5)
    scale = draw.or_else(torch.exp2(0.2 * draw.normal()), 1.0)
    before = seldom.or_else(math.pi * (2 * draw.unit() - 1), 0.0)
    stretch = draw.or_else(torch.exp2(0.2 * draw.normal()), 1.0)
    after = seldom.or_else(math.pi * (2 * draw.unit() - 1), 0.0)
    shift = draw.or_else(draw.normal(2) / 8, 0.0)
    return [
        scaling(scale, scale),
        turning(before.cos(), before.sin()),
        scaling(stretch, 1 / stretch),
        turning(after.cos(), after.sin()),
        shifting(shift[:, :1] * width, shift[:, 1:] * height),
    ]


def scaling(x: Tensor, y: Tensor) -> Affine:
    zero = torch.zeros_like(x)
    return 1 / x, zero, zero, zero, 1 / y, zero


def turning(cos: Tensor, sin: Tensor) -> Affine:
    zero = torch.zeros_like(cos)
    return cos, sin, zero, -sin, cos, zero


def shifting(x: Tensor, y: Tensor) -> Affine:
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return one, zero, -x, zero, one, -y


def product(first: Affine, second: Affine) -> Affine:
    """Both maps as one, which sends a place through the second and then the first."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (
        a * p + b * s,
        a * q + b * t,
        a * r + b * u + c,
        d * p + e * s,
        d * q + e * t,
        d * r + e * u + f,
    )


def warped(x: Tensor, changes: list[Affine]) -> Tensor:
    """Images as some changes, one after another, leave them: sampled once, between the four
    neighbours of where each pixel comes from. What lies beyond an edge mirrors what is before it.
    """
    height, width = x.shape[2:]
    a, b, c, d, e, f = reduce(product, changes)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    place = partial(torch.arange, dtype=x.dtype, device=x.device)
    right, down = place(width) - middle_x, (place(height) - middle_y)[:, None]
    u, v = a * right + b * down + c + middle_x, d * right + e * down + f + middle_y
    left, top = u.floor(), v.floor()
    across, along = u - left, v - top
    pixels = x.flatten(2)

    def at(column: Tensor, row: Tensor) -> Tensor:
        index = width * mirrored(row, height) + mirrored(column, width)
        return pixels.gather(2, index.flatten(2).expand(-1, x.shape[1], -1)).view_as(x)

    upper = (1 - across) * at(left, top) + across * at(left + 1, top)
    lower = (1 - across) * at(left, top + 1) + across * at(left + 1, top + 1)
    return (1 - along) * upper + along * lower


def mirrored(index: Tensor, size: int) -> Tensor:
    """Whole places beyond 0 … size - 1, reflected into it."""
    back = index.long().remainder(max(2 * (size - 1), 1))
    return torch.minimum(back, 2 * (size - 1) - back)


def recolored(x: Tensor, draw: Draw) -> Tensor:
    """Another brightness, contrast, light for dark, hue (of three channels), and saturation."""
    x = x + draw.or_else(0.2 * draw.normal(), 0.0)
    x = x * draw.or_else(torch.exp2(0.5 * draw.normal()), 1.0)
    x = x - 2 * draw.or_else(draw.choice(2), 0.0) * x.mean(1, keepdim=True)
    if x.shape[1] == 3:
        x = hued(x, draw.or_else(math.pi * (2 * draw.unit() - 1), 0.0))
    return about(x.mean(1, keepdim=True), x, draw.or_else(torch.exp2(draw.normal()), 1.0))


def hued(x: Tensor, angle: Tensor) -> Tensor:
    """Colours turned about the axis of grays, (1, 1, 1)."""
    gray = x.mean(1, keepdim=True)
    cross = (x.roll(1, 1) - x.roll(-1, 1)) / 3**0.5
    return about(gray, x, angle.cos()) + cross * angle.sin()
