"""Extended batch normalization."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt, Le
from torch import Tensor

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Moments,
    Running,
    full,
    mixture,
    of_batch,
    standardised,
)
from sweeper.game import Context, Ranks
from sweeper.registry import Law, LogUniform, Options


@normalizations.register(
    paper="luo2020",
    provides={"batch_statistics", "batch_coupled"},
    warns={Law("small_batch", "means of a few examples are mostly noise")},
)
class ExtendedBatchNorm(Affine):
    """Each channel is centred by its own mean, and all are divided by one standard deviation.

    y = γ (x - μ) / √(σ² + ε) + β, where μ is that of each channel over N, H, W, and σ² one number
    over N, C, H, W: with ``center: global`` the variance of all numbers, about the mean of them
    all, and with ``center: channel`` their mean squared distance from the mean of their channel.
    The first is larger by the variance of the μ over the channels.

    Takes (N, C, ...). In evaluation, running statistics stand in for the batch's.
    """

    def __init__(
        self,
        channels: int,
        *,
        center: Annotated[Literal["global", "channel"], Options(("global", "channel"))] = "global",
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        self.running = Running(channels, momentum, variances=1)
        self.center, self.eps = center, eps

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        return self.scaled(standardised(h, self.running(h, self.extended), self.eps)).to(x.dtype)

    def extended(self, h: Tensor, ranks: Ranks) -> Moments:
        """The mean of each channel, and one variance."""
        mean, variance, n = of_batch(h, ranks)
        if self.center == "channel":
            one = variance.mean(1, keepdim=True)
        else:
            _, one = mixture(mean, variance, 1 / h.shape[1], 1)
        return Moments(mean, one, n.mean() * h.shape[1])
