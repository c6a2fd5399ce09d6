"""Region normalization."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from annotated_types import Gt, Le, Lt
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Moments,
    Running,
    batch_and_space,
    full,
    of_all,
    standardised,
    weighed,
)
from sweeper.game import Context, Layers, Ranks
from sweeper.registry import Law, LogUniform, Options, Uniform

BATCH = "stats == batch"


class Region(Affine):
    """Standardised, scaled and shifted by what lies in a region, and 0 outside."""

    def __init__(self, channels: int, stats: str, momentum: float, eps: float) -> None:
        super().__init__(channels)
        self.running = Running(channels, momentum) if stats == "batch" else None
        self.eps = eps

    def forward(self, h: Tensor, inside: Tensor) -> Tensor:
        def of_region(h: Tensor, ranks: Ranks) -> Moments:
            return of_all(weighed(h, inside, batch_and_space(h)), ranks)

        found = weighed(h, inside, (2, 3)) if self.running is None else self.running(h, of_region)
        return inside * self.scaled(standardised(h, found, self.eps))


class Found(nn.Module):
    """Where the activations stand out, (N, 1, H, W), and a scale and a shift of each place."""

    def __init__(self, layers: Layers, threshold: float, kernel: int) -> None:
        super().__init__()
        self.threshold = threshold
        self.score, self.scale, self.shift = (
            layers.weighted(nn.Conv2d(inputs, 1, kernel, padding=kernel // 2))
            for inputs in (2, 1, 1)
        )

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = torch.cat([h.mean(1, keepdim=True), h.amax(1, keepdim=True)], 1)
        score = full(self.score(seen)).sigmoid()
        inside = (score >= self.threshold).to(h)
        return inside, full(self.scale(score)), full(self.shift(score))


@normalizations.register(
    paper="yu2020",
    needs={"feature_maps"},
    provides={Law("batch_statistics", when=BATCH), Law("batch_coupled", when=BATCH)},
    warns={Law("small_batch", "statistics of a few examples are mostly noise", when=BATCH)},
    facts={"told": (Law("mask", when="variant == basic"),)},
)
class RegionNorm(nn.Module):
    """What lies inside a mask and what lies outside are standardised apart.

    y = Σ_m m (γ_m (x - μ_m) / √(σ²_m + ε) + β_m) over the two regions, m and 1 - m in turn being 1
    in the one and 0 in the other; μ_m and σ²_m are those of each channel over all places of region
    m in N, H, W or, with ``stats: sample``, in H, W of each example. A region without a place adds
    nothing.

    In ``basic`` the region is that of the mask, shrunk to H × W by nearest neighbour; of several
    planes of a mask, that of any. γ_m and β_m are those of each channel and region. In
    ``learnable`` it is where a score, the sigmoid of a ``kernel`` × ``kernel`` convolution of the
    mean and the maximum over C, is at least ``threshold``; the sum is then scaled and shifted at
    each place, y ← (1 + c) y + d, with c and d convolutions of the score, which learns by them.

    Takes (N, C, H, W). In evaluation, running statistics of each region stand in for the batch's.
    """

    def __init__(
        self,
        channels: int,
        layers: Layers,
        *,
        variant: Annotated[
            Literal["basic", "learnable"], Options(("basic", "learnable"))
        ] = "learnable",
        stats: Annotated[Literal["batch", "sample"], Options(("batch", "sample"))] = "batch",
        threshold: Annotated[float, Gt(0), Lt(1), Uniform(0.5, 0.95)] = 0.8,
        kernel: Annotated[Literal[3, 5, 7], Options((3, 7))] = 7,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__()
        self.inside = Region(channels, stats, momentum, eps)
        self.outside = Region(channels, stats, momentum, eps)
        self.found = Found(layers, threshold, kernel) if variant == "learnable" else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        if self.found is None:
            return self.apart(h, masked(h, context)).to(x.dtype)
        inside, scale, shift = cast(tuple[Tensor, Tensor, Tensor], self.found(h))
        return (self.apart(h, inside) * (1 + scale) + shift).to(x.dtype)

    def apart(self, h: Tensor, inside: Tensor) -> Tensor:
        """Both regions, each by itself."""
        return cast(Tensor, self.inside(h, inside) + self.outside(h, 1 - inside))


def masked(h: Tensor, context: Context) -> Tensor:
    """Where the mask is, of the size of activations (N, C, H, W): (N, 1, H, W), 0 or 1."""
    if context.mask is None:
        raise ValueError("region_norm of variant basic is told a mask for every example")
    whole = context.mask.amax(1, keepdim=True)
    return (interpolate(whole, h.shape[2:], mode="nearest") >= 0.5).to(h)
