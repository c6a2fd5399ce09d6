"""Sparse switchable normalization."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.switchable_norm import SwitchableNorm
from sweeper.game import Paced, Progress
from sweeper.registry import Law, LogUniform, Options, Uniform

CLOSE = 1e-6
"""Nearer to the centre there is no direction away from it."""
ALL_BUT_ONE = 1 - 1e-5
"""From this share on, one candidate is chosen: the rest is rounding."""


def sparsemax(z: Tensor) -> Tensor:
    """The point of the simplex that is nearest to a vector (K,)."""
    ordered, _ = z.sort(descending=True)
    k = torch.arange(1, len(z) + 1, device=z.device)
    beyond = (ordered.cumsum(0) - 1) / k
    support = (ordered > beyond).sum()
    return (z - beyond.gather(0, (support - 1)[None])).clamp(min=0)


def sparsestmax(z: Tensor, radius: Tensor) -> Tensor:
    """The sparsemax of a vector (K,), pushed to a distance from the centre of the simplex: at the
    radius of its corners, √(1 - 1/K), one number is 1 and the others are 0.

    Where pushing out leaves the simplex, it is back to its nearest face, and on from there.
    """
    whole = torch.full_like(z, 1 / len(z))
    p = z
    for _ in range(len(z) - 1):
        p = sparsemax(p)
        face = (p > 0).to(p)
        centre = face / face.sum()
        left = (radius.square() - (centre - whole).square().sum()).clamp(min=0).sqrt()
        p = centre + pushed(p - centre, left)
    return p


def pushed(way: Tensor, least: Tensor) -> Tensor:
    """A vector of the same direction, and of at least a length."""
    length = way.square().sum().clamp(min=CLOSE**2).sqrt()
    return way * torch.where(length > CLOSE, least / length, least.new_ones(())).clamp(min=1)


@normalizations.register(
    paper="shao2019",
    needs={"feature_maps"},
    provides={
        Law("batch_statistics", when="with_batch"),
        Law("batch_coupled", when="with_batch"),
    },
    warns={Law("small_batch", "statistics of a few examples are mostly noise", when="with_batch")},
)
class SparseSwitchableNorm(Paced, SwitchableNorm):
    """Switchable normalization whose blend becomes a choice: of one candidate for each statistic.

    y = γ (x - Σₖ wₖ μₖ) / √(Σₖ wₖ′ σₖ² + ε) + β with k in (in, ln, bn), over the axes of
    ``switchable_norm``, but w = sparsestmax(λ; r): the sparsemax of λ, pushed away from the centre
    of the simplex until it is at a distance r. The radius r grows on a line from 0, at the start,
    to that of the simplex's corners, √(1 - 1/K), when ``radius_anneal`` of the horizon lies behind;
    from then on one candidate has all the weight. A choice that is made stays.

    Takes (N, C, H, W). A trial that is ended before may not have chosen yet. The λ get larger
    gradients the nearer they are to each other; their rate is set by the optimizer's ``rates``, as
    in ``{"*_logits": 0.1}``.
    """

    radius: Tensor
    chosen: Tensor

    def __init__(
        self,
        channels: int,
        *,
        radius_anneal: Annotated[float, Gt(0), Le(1), Uniform(0.3, 1.0)] = 0.8,
        with_batch: Annotated[bool, Options((True, False))] = True,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.001, 0.1)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels, with_batch=with_batch, momentum=momentum, eps=eps)
        self.radius_anneal = radius_anneal
        self.register_buffer("radius", torch.zeros(()))
        self.register_buffer("chosen", torch.zeros(2, len(self.mean_logits)))

    @torch.no_grad()
    def pace(self, progress: Progress) -> None:
        share = min(progress.fraction / self.radius_anneal, 1.0)
        self.radius.fill_(share * math.sqrt(1 - 1 / self.chosen.shape[1]))
        shares = torch.stack(self.shares())
        self.chosen.copy_((shares > ALL_BUT_ONE).to(self.chosen))

    def shares(self) -> tuple[Tensor, Tensor]:
        means, variances = (
            torch.where(chosen.sum() > 0, chosen, sparsestmax(logits, self.radius))
            for chosen, logits in zip(
                self.chosen, (self.mean_logits, self.variance_logits), strict=True
            )
        )
        return means, variances
