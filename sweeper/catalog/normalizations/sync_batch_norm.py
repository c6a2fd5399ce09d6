"""Batch normalization whose statistics are those of all ranks."""

from __future__ import annotations

from typing import Annotated, Literal

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
    standardised,
)
from sweeper.game import Context, Ranks
from sweeper.registry import Law, LogUniform, Options


def one_reduce(h: Tensor, ranks: Ranks) -> Moments:
    """Those of each channel by the sums of the numbers and of their squares."""
    sums = [h.sum(batch_and_space(h), keepdim=True) for h in (h, h.square(), torch.ones_like(h))]
    first, second, n = ranks.sum(torch.stack(sums)).unbind()
    mean = first / n
    return Moments(mean, (second / n - mean.square()).clamp(min=0), n)


def two_reduce(h: Tensor, ranks: Ranks) -> Moments:
    """Those of each channel by the sum of the numbers, then by that of their squared deviations."""
    mean, n = mean_of_all(h, ranks)
    deviations = (h - mean).square().sum(batch_and_space(h), keepdim=True)
    return Moments(mean, ranks.sum(deviations) / n, n)


@normalizations.register(
    paper="peng2018",
    provides={"batch_statistics", "batch_coupled"},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
)
class SyncBatchNorm(Affine):
    """Batch normalization by sums over all ranks, which may have unequal shares of the batch.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those of each channel over N, H, W of all
    ranks. In ``one_reduce``, the ranks exchange n, Σx and Σx² at once, and σ² = Σx²/n - μ²; in
    ``two_reduce``, n and Σx first, and then Σ(x - μ)², which stays exact where μ is far from 0. The
    slopes of the sums are exchanged on the way back. One rank alone counts by the same sums.

    ``batch_norm`` is by the statistics of all ranks, too, which there exchange means and variances.
    Takes (N, C, ...). In evaluation, running statistics stand in for the batch's.
    """

    def __init__(
        self,
        channels: int,
        *,
        algorithm: Annotated[
            Literal["one_reduce", "two_reduce"], Options(("one_reduce", "two_reduce"))
        ] = "one_reduce",
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        self.running, self.eps = Running(channels, momentum), eps
        self.reduce = one_reduce if algorithm == "one_reduce" else two_reduce

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        return self.scaled(standardised(h, self.running(h, self.reduce), self.eps)).to(x.dtype)
