"""Semantic region-adaptive normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.spade import BATCH, Modulation
from sweeper.catalog.normalizations.told import (
    Base,
    mask,
    planes_of,
    standardising,
    style,
    style_of,
)
from sweeper.game import Context, Coupled, Known, Layers
from sweeper.registry import Law, Options


class Noise(Coupled):
    """x + B · n, n ~ N(0, 1) of one channel, (N, 1, H, W), with a scale B per channel that is 0 at
    first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        def draw(n: int) -> Tensor:
            return torch.randn(n, 1, *x.shape[2:], dtype=x.dtype, device=x.device)

        return x + self.scale[:, None, None].to(x.dtype) * self.company.drawn(x.shape[0], draw)


@normalizations.register(
    paper="zhu2020",
    needs={"feature_maps"},
    provides={
        Law("batch_statistics", when=BATCH),
        Law("batch_coupled", when=BATCH),
        Law("no_third_derivative", when="base == instance"),
    },
    facts={"on": "generator", "told": ("mask",)},
)
class Sean(nn.Module):
    """Each channel is standardised, then scaled and shifted by a mask and its regions' styles.

    y = (1 + γ) · (x + B n - μ) / √(σ² + ε) + β, γ = a γˢ + (1 - a) γᵐ with a weight a = sigmoid(α),
    ½ at first, and β likewise with its own. γᵐ and βᵐ are those of ``spade``; γˢ and βˢ are
    convolutions of a map of styles: every region, the planes of the mask and all outside of them,
    has a style of ``size`` numbers, ReLU(A_r s), from what G is given, s (N, K), which stands
    wherever the region is. n is noise, in evaluation too; B begins at 0, and without ``noise``
    there is none. μ and σ² are over (N, H, W) and all ranks with the ``base`` batch, for which
    running statistics stand in in evaluation; over (H, W) with instance. Takes (N, C, H, W). The
    paper takes s from an image, by region.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        layers: Layers,
        *,
        size: Annotated[int, Ge(1), Options((16, 64, 128))] = 64,
        hidden: Annotated[int, Ge(1), Options((32, 64, 128))] = 128,
        noise: Annotated[bool, Options((False, True))] = True,
        base: Annotated[Base, Options(("batch", "instance"))] = "batch",
    ) -> None:
        super().__init__()
        regions = planes_of(known, "sean") + 1
        self.noise = Noise(channels) if noise else nn.Identity()
        self.norm = standardising(base, channels)
        self.styles = layers.weighted(nn.Linear(style_of(known, "sean"), regions * size))
        self.of_style = Modulation(size, hidden, channels, 3, nn.ReLU(), layers)
        self.of_mask = Modulation(known.mask, hidden, channels, 3, nn.ReLU(), layers)
        self.blend = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        m = mask(context, x)
        by_style, by_mask = self.of_style(self.style_map(m, style(context))), self.of_mask(m)
        shares = torch.sigmoid(self.blend)
        scale, shift = (
            a * s + (1 - a) * t for a, s, t in zip(shares, by_style, by_mask, strict=True)
        )
        y: Tensor = self.norm(self.noise(x)) * (1 + scale) + shift
        return y.to(x.dtype)

    def style_map(self, m: Tensor, s: Tensor) -> Tensor:
        """The style of the region that each place is in, (N, size, H, W)."""
        regions = torch.cat([m, (1 - m.sum(1, keepdim=True)).clamp(min=0)], dim=1)
        styles = torch.relu(self.styles(s)).reshape(s.shape[0], regions.shape[1], -1)
        return torch.einsum("nrhw,nrs->nshw", regions, styles.to(m.dtype))
