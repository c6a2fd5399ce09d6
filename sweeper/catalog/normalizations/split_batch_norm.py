"""Split batch normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.domain_specific_batch_norm import (
    BY,
    CONFLICTS,
    FACTS,
    WARNS,
    By,
    Split,
    domains_of,
)
from sweeper.catalog.normalizations.moments import Affine
from sweeper.game import Context, Known
from sweeper.registry import LogUniform, Options


@normalizations.register(
    paper="zajac2019",
    provides={"batch_statistics", "batch_coupled"},
    conflicts=CONFLICTS,
    warns=WARNS,
    facts=FACTS,
)
class SplitBatchNorm(Affine):
    """Batch normalization by statistics of several distributions, which share one scale.

    y = γ (x - μ_d) / √(σ_d² + ε) + β, where d is the distribution that an example is from, and μ_d
    and σ_d² of each channel are over those examples of the batch and all ranks that are from d, and
    space, (N_d, H, W); in evaluation, running statistics of d. Takes (N, C, ...). Distributions are
    those of ``domain_specific_batch_norm``.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        *,
        by: Annotated[By, BY] = "real_fake",
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        domains = domains_of(by, known, "split_batch_norm")
        self.split = Split(channels, domains, by, momentum, eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        y, _ = self.split(x, context)
        return self.scaled(y).to(x.dtype)
