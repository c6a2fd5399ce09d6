"""What normalizations that are told something have in common."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sweeper.catalog.normalizations.moments import Standardised, channelwise
from sweeper.game import Context, Known, Layers

Base = Literal["batch", "instance"]
"""What standardises before a scale and a shift that are told."""


def standardising(base: Base, channels: int) -> nn.Module:
    """A normalization of (N, C, H, W) without a scale and a shift."""
    return Standardised(channels, 0.1, 1e-5) if base == "batch" else nn.InstanceNorm2d(channels)


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Each channel of each example, (N, C, ...), scaled and shifted by its own numbers, (N, C)."""
    return x * channelwise(scale, x) + channelwise(shift, x)


class Table(nn.Module):
    """A scale and a shift for each of some classes, (N,) to (N, C) each: 1 and 0 at first."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(classes, channels))
        self.shift = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, label: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale[label], self.shift[label]


class Mapped(nn.Module):
    """A scale and a shift by an affine map of a style vector, (N, K) to (N, C) each: γ = 1 + As."""

    def __init__(self, style: int, channels: int, layers: Layers) -> None:
        super().__init__()
        self.linear = layers.weighted(nn.Linear(style, 2 * channels))

    def forward(self, style: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.linear(style).chunk(2, dim=1)
        return 1 + scale, shift


def classes_of(known: Known, name: str) -> int:
    """How many classes there are. Raises ValueError for none."""
    if known.classes < 1:
        raise ValueError(f"{name} is told a class, but there are none")
    return known.classes


def style_of(known: Known, name: str) -> int:
    """How long style vectors are. Raises ValueError for none."""
    if known.style < 1:
        raise ValueError(f"{name} is told a style vector, but this network has none")
    return known.style


def planes_of(known: Known, name: str) -> int:
    """How many planes masks have. Raises ValueError for none."""
    if known.mask < 1:
        raise ValueError(f"{name} is told a mask, but there is none")
    return known.mask


def label(context: Context) -> Tensor:
    """The class of each example, (N,)."""
    if context.label is None:
        raise ValueError("a layer that is told classes needs a label for every example")
    return context.label


def style(context: Context) -> Tensor:
    """The style vector of each example, (N, K)."""
    if context.style is None:
        raise ValueError("a layer that is told a style needs a vector of it for every example")
    return context.style


def mask(context: Context, x: Tensor) -> Tensor:
    """The mask of each example at the size of some feature maps, by the nearest pixel:
    (N, M, H, W)."""
    if context.mask is None:
        raise ValueError("a layer that is told masks needs one for every example")
    return interpolate(context.mask.to(x.dtype), cast(list[int], list(x.shape[2:])))
