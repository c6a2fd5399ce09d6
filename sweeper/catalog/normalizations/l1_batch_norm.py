"""Batch normalization by the mean absolute deviation."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Moments,
    Running,
    batch_and_space,
    full,
    mean_of_all,
)
from sweeper.game import Context, Ranks
from sweeper.registry import Law, LogUniform, Options


def absolute(h: Tensor, ranks: Ranks) -> Moments:
    """The mean of each channel and, for a variance, its mean absolute deviation."""
    mean, n = mean_of_all(h, ranks)
    deviation = ranks.sum((h - mean).abs().sum(batch_and_space(h), keepdim=True)) / n
    return Moments(mean, deviation, torch.full_like(n, torch.inf))


@normalizations.register(
    paper="wu2018l1",
    provides={"batch_statistics", "batch_coupled"},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
)
class L1BatchNorm(Affine):
    """Each channel is centred over the batch, and divided by its mean absolute deviation.

    y = γ (x - μ) / (σ + ε) + β, with μ and σ = mean |x - μ| of each channel over N, H, W. With
    ``rescale`` σ counts √(π/2) times, which makes it the standard deviation of what is normally
    distributed. There is neither a square nor a root in it.

    Takes (N, C, ...). In evaluation, running statistics stand in for the batch's.
    """

    def __init__(
        self,
        channels: int,
        *,
        rescale: Annotated[bool, Options((True, False))] = True,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        self.running = Running(channels, momentum)
        self.factor = math.sqrt(math.pi / 2) if rescale else 1.0
        self.eps = eps

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        mean, deviation, _ = self.running(h, absolute)
        return self.scaled((h - mean) / (self.factor * deviation + self.eps)).to(x.dtype)
