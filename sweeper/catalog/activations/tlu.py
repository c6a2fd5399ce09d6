"""Thresholded linear units."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from sweeper.catalog.families import activations
from sweeper.catalog.normalizations.moments import channelwise
from sweeper.registry import Uniform


@activations.register(paper="singh2020")
class Tlu(nn.Module):
    """max(x, τ), with a threshold τ that each channel learns.

    It is max(x - τ, 0) + τ, a ReLU where τ is 0. τ begins at ``initial``. The paper has it after
    ``filter_response_norm``, which leaves the mean of x anywhere. Takes (N, C, ...).
    """

    def __init__(
        self, channels: int, *, initial: Annotated[float, Uniform(-1.0, 0.0)] = 0.0
    ) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((channels,), initial))

    def forward(self, x: Tensor) -> Tensor:
        threshold = channelwise(self.threshold, x).to(x.dtype)
        return (x - threshold).relu() + threshold
