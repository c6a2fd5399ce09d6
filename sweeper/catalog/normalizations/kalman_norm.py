"""Kalman normalization."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn.functional import softplus

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Moments,
    Running,
    channelwise,
    full,
    mixture,
    of_batch,
    standardised,
)
from sweeper.game import Context, Ranks
from sweeper.registry import Law, LogUniform, Options, Uniform

TRAIL = "kalman_norm"
"""Where the layers of a pass leave their estimates for the next."""

FAR = 100.0
"""How many times the variance of the batch an estimate's may be, on average, to count."""


class Transition(nn.Module):
    """What is expected of a layer, given the estimate of the one before: m⁻ = A m and v⁻ = A² v +
    R, from (C',) to (C,) each, where A² has the squares of A, and R ≥ 0 is learnt, too."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        nearest = torch.arange(channels) * before // channels
        self.weight = nn.Parameter(torch.eye(before)[nearest])
        self.noise = nn.Parameter(torch.full((channels,), -5.0))

    def forward(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        a = self.weight
        return a @ mean, a.square() @ variance + softplus(self.noise)


@normalizations.register(
    paper="wang2018kalman",
    provides={"batch_statistics", "batch_coupled"},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
)
class KalmanNorm(Affine):
    """Batch normalization by statistics estimated from those of the layer before and the batch.

    y = γ (x - m) / √(v + ε) + β. With μ and σ² of each channel over the batch, all ranks and space,
    (N, H, W), and what is expected from the layer before, m⁻ and v⁻,

        m = q m⁻ + (1 - q) μ,    v = q v⁻ + (1 - q) σ² + q (1 - q) (μ - m⁻)²,

    which are the mean and the variance of a mixture of both; q is the ``gain``. In evaluation,
    running m and v. The first layer has none before it, and is ``batch_norm``; so is one where v⁻
    is, on average, a hundred times σ² or more. By the ``transition`` identity, m⁻ and v⁻ are m and
    v of the layer before, which must be as wide; by linear, m⁻ = A m and v⁻ = A² v + R with an A
    (C, C') and an R learnt for each layer; at first, each channel expects what the one at its place
    among C' had. Takes (N, C, ...). Raises ValueError for an identity where the width changes.
    """

    def __init__(
        self,
        channels: int,
        before: int,
        *,
        gain: Annotated[float, Ge(0), Lt(1), Uniform(0.0, 0.5)] = 0.1,
        transition: Annotated[Literal["linear", "identity"], Options(("linear", "identity"))] = (
            "linear"
        ),
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        if transition == "identity" and before not in (0, channels):
            raise ValueError(
                "kalman_norm follows one width through all layers, but it changes from "
                f"{before} to {channels} channels; transition: linear learns how"
            )
        self.gain, self.eps, self.before = gain, eps, before
        self.running = Running(channels, momentum)
        linear = before and transition == "linear"
        self.transition = Transition(before, channels) if linear else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h, left = full(x), context.trail.get(TRAIL)
        # Where layers are passed in another order than they were made in, one begins anew.
        known = left if left is not None and len(left[0]) == self.before else None

        def find(h: Tensor, ranks: Ranks) -> Moments:
            batch = of_batch(h, ranks)
            return batch if known is None else self.filtered(batch, known, h)

        found = self.running(h, find)
        context.trail[TRAIL] = found.mean.flatten(), found.variance.flatten()
        return self.scaled(standardised(h, found, self.eps)).to(x.dtype)

    def filtered(self, batch: Moments, left: tuple[Tensor, Tensor], h: Tensor) -> Moments:
        """The estimate from what a layer before has left and what the batch has."""
        mean, variance = left if self.transition is None else self.transition(*left)
        expected = (
            torch.stack([mean, batch.mean.flatten()]),
            torch.stack([variance, batch.variance.flatten()]),
        )
        near = (variance / (batch.variance.flatten() + self.eps)).mean() < FAR
        q = self.gain * near.to(h)
        shares = torch.stack([q, 1 - q])[:, None]
        m, v = (channelwise(values, h) for values in mixture(*expected, shares, 0))
        return Moments(m, v, batch.n)
