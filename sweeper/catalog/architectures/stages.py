"""A generator whose image another one refines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from sweeper.game import Batch, Context

Told = TypeVar("Told", Batch, Context)


def shrunk(told: Told, factor: int) -> Told:
    """The same examples at a size so many times smaller: means of squares of pixels."""
    if factor == 1:
        return told
    images = ("image", "source", "mask", "style", "reference")
    held = {name: x for name in images if isinstance(x := getattr(told, name, None), Tensor)}
    small: Any = {name: avg_pool2d(x, factor) for name, x in held.items() if x.ndim == 4}
    return replace(told, **small)


def refining(told: Told, image: Tensor, factor: int) -> Told:
    """The same examples, with an image, enlarged so many times, before what G is given."""
    large = image if factor == 1 else interpolate(image, scale_factor=factor, mode="nearest")
    given = large if told.source is None else torch.cat([large, told.source], dim=1)
    return replace(told, source=given)


class Staged(nn.Module):
    """Two generators in a row: the second is given what the first, at a size so many times smaller,
    has made of the same latents."""

    def __init__(self, first: nn.Module, second: nn.Module, factor: int) -> None:
        super().__init__()
        self.first, self.second, self.factor = first, second, factor

    def forward(self, z: Tensor, context: Context) -> Tensor:
        image = self.first(z, shrunk(context, self.factor))
        return cast(Tensor, self.second(z, refining(context, image, self.factor)))
