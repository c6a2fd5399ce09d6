"""Switchable normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Moments,
    Running,
    full,
    mixture,
    moments,
    of_all,
    standardised,
)
from sweeper.game import Context, Ranks
from sweeper.registry import Law, LogUniform, Options


@normalizations.register(
    paper="luo2019",
    needs={"feature_maps"},
    provides={
        Law("batch_statistics", when="with_batch"),
        Law("batch_coupled", when="with_batch"),
    },
    warns={Law("small_batch", "statistics of a few examples are mostly noise", when="with_batch")},
)
class SwitchableNorm(Affine):
    """A learnt blend of instance, layer and batch statistics standardises each channel.

    y = γ (x - Σₖ wₖ μₖ) / √(Σₖ wₖ′ σₖ² + ε) + β with k in (in, ln, bn), w = softmax(λ) and
    w′ = softmax(λ′), and the λ begin equal. μ_in and σ_in² are over H, W of each channel of each
    example; those of ln over C, H, W of each example and those of bn over N, H, W of each channel
    follow from them. All variances are biased.

    Takes (N, C, H, W). In evaluation running statistics stand in for the batch's. Without
    ``with_batch`` the blend is of the other two, and examples do not bear on each other. The rate
    of the λ is set by the optimizer's ``rates``, as in ``{"*_logits": 0.1}``.
    """

    def __init__(
        self,
        channels: int,
        *,
        with_batch: Annotated[bool, Options((True, False))] = True,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.001, 0.1)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        self.eps = eps
        self.running = Running(channels, momentum) if with_batch else None
        candidates = 3 if with_batch else 2
        self.mean_logits = nn.Parameter(torch.ones(candidates))
        self.variance_logits = nn.Parameter(torch.ones(candidates))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        found = self.candidates(h)
        means, variances = self.shares()
        blend = Moments(
            sum((w * m.mean for w, m in zip(means, found, strict=True)), h.new_zeros(())),
            sum((w * m.variance for w, m in zip(variances, found, strict=True)), h.new_zeros(())),
            found[0].n,
        )
        return self.scaled(standardised(h, blend, self.eps)).to(x.dtype)

    def candidates(self, h: Tensor) -> list[Moments]:
        """The statistics of instances, of layers and, where they count, of the batch."""
        instances = moments(h, (2, 3))
        mean, variance, n = instances
        layers = Moments(*mixture(mean, variance, 1 / h.shape[1], 1), n * h.shape[1])
        if self.running is None:
            return [instances, layers]

        def of_batch(h: Tensor, ranks: Ranks) -> Moments:
            own = Moments(*mixture(mean, variance, 1 / len(h), 0), n * len(h))
            return of_all(own, ranks)

        return [instances, layers, self.running(h, of_batch)]

    def shares(self) -> tuple[Tensor, Tensor]:
        """How much each candidate counts, for the means and for the variances."""
        return self.mean_logits.softmax(0), self.variance_logits.softmax(0)
