"""Batch normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from sweeper.catalog.families import normalizations
from sweeper.game import Context
from sweeper.registry import Law, LogUniform, Options


@normalizations.register(
    paper="ioffe2015",
    provides={"batch_statistics", "batch_coupled", "no_third_derivative"},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
)
class BatchNorm(nn.BatchNorm1d):
    """Each channel is standardised over the batch (and space), then scaled and shifted.

    Takes (N, C, ...). In evaluation, running statistics (with the unbiased variance) stand in for
    the batch's.
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
