"""Instance normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import instance_norm

from sweeper.catalog.families import normalizations
from sweeper.game import Context
from sweeper.registry import Options


@normalizations.register(
    paper="ulyanov2016", needs={"feature_maps"}, provides={"no_third_derivative"}
)
class InstanceNorm(nn.Module):
    """Each channel of each example is standardised over space.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those of each channel of each example over
    H, W, and γ and β, if ``affine``, those of each channel. Takes (N, C, H, W) of more than one
    pixel.
    """

    def __init__(
        self,
        channels: int,
        *,
        affine: Annotated[bool, Options((False, True))] = False,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
