"""Channel normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import channelwise, full, moments, standardised
from sweeper.game import Context
from sweeper.registry import Options


@normalizations.register(paper="mentzer2020")
class ChannelNorm(nn.Module):
    """Each place of each example is standardised over its channels.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those of each example and place over C, and γ
    and β, if ``affine``, those of each channel. Takes (N, C, ...); one channel alone becomes 0.
    """

    def __init__(
        self,
        channels: int,
        *,
        affine: Annotated[bool, Options((True, False))] = True,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-3,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        y = standardised(h, moments(h, (1,)), self.eps)
        if self.weight is not None and self.bias is not None:
            y = y * channelwise(self.weight, y) + channelwise(self.bias, y)
        return y.to(x.dtype)
