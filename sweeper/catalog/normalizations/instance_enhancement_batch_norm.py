"""Instance enhancement batch normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Standardised,
    channelwise,
    full,
    space_mean,
)
from sweeper.game import Context
from sweeper.registry import Law, LogUniform, Options, Uniform


@normalizations.register(
    paper="liang2020",
    provides={"batch_statistics", "batch_coupled"},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
)
class InstanceEnhancementBatchNorm(Affine):
    """Batch normalization whose scale each example adjusts to what it has in the channel.

    y = γ δ (x - μ) / √(σ² + ε) + β with δ = sigmoid(a m + b), where μ and σ² are those of each
    channel over N, H, W; m is the mean of each channel of each example over H, W; and γ, β, a and b
    are learnt for each channel. a begins at 0 and b at ``readjust_bias``: δ is 0.269 for all.

    Takes (N, C, ...). In evaluation, running statistics stand in for the batch's.
    """

    def __init__(
        self,
        channels: int,
        *,
        readjust_bias: Annotated[float, Uniform(-2.0, 2.0)] = -1.0,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        self.base = Standardised(channels, momentum, eps)
        self.slope = nn.Parameter(torch.zeros(channels))
        self.offset = nn.Parameter(torch.full((channels,), readjust_bias))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        slope, offset = (channelwise(p, h) for p in (self.slope, self.offset))
        return self.scaled(self.base(h) * (slope * space_mean(h) + offset).sigmoid()).to(x.dtype)
