"""Batch normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    channelwise,
    follow,
    full,
    of_batch,
    standardised,
)
from sweeper.game import Context, Coupled
from sweeper.registry import Law, LogUniform, Options


@normalizations.register(
    paper="ioffe2015",
    provides={"batch_statistics", "batch_coupled", "no_third_derivative"},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
)
class BatchNorm(Coupled, nn.BatchNorm1d):
    """Each channel is standardised over the batch (and space), then scaled and shifted.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those of each channel over N, H, W.

    Takes (N, C, ...). In evaluation, running statistics (with the unbiased variance) stand in for
    the batch's. Ranks that train together have one batch.
    """

    def __init__(
        self,
        channels: int,
        *,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        if self.company.size > 1:
            return self.joined(x)
        return batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )

    def joined(self, x: Tensor) -> Tensor:
        """By the statistics of all ranks: torch's own way there is for GPUs alone, and has no
        second derivative."""
        assert self.running_mean is not None
        assert self.running_var is not None
        h = full(x)
        now = of_batch(h, self.company)
        follow(self.running_mean, self.running_var, now, self.momentum or 0.0)
        y = standardised(h, now, self.eps)
        return (y * channelwise(self.weight, y) + channelwise(self.bias, y)).to(x.dtype)
