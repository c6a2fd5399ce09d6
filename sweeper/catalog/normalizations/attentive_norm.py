"""Attentive normalization."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn.functional import group_norm

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import Standardised, channelwise, full, moments
from sweeper.game import Context, Layers
from sweeper.registry import Law, LogUniform, Options

BATCH = "base == batch"
SUMMARY_EPS = 1e-3


class Grouped(nn.Module):
    """Groups of channels of (N, C, ...) standardised, and neither scaled nor shifted."""

    def __init__(self, channels: int, groups: int, eps: float) -> None:
        super().__init__()
        if channels % groups:
            law = "groups of attentive_norm divides the channels"
            raise ValueError(f"{law}, but got {groups} and {channels}")
        self.groups, self.eps = groups, eps

    def forward(self, h: Tensor) -> Tensor:
        return group_norm(h, self.groups, eps=self.eps)


class Components(nn.Module):
    """The scales and the shifts (K, C) that are mixed."""

    def __init__(self, components: int, channels: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(1 + 0.1 * torch.randn(components, channels))
        self.shifts = nn.Parameter(0.1 * torch.randn(components, channels))

    def forward(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        return shares @ self.scales, shares @ self.shifts


@normalizations.register(
    paper="li2020",
    needs={"feature_maps"},
    provides={Law("batch_statistics", when=BATCH), Law("batch_coupled", when=BATCH)},
    warns={Law("small_batch", "statistics of a few examples are mostly noise", when=BATCH)},
)
class AttentiveNorm(nn.Module):
    """Each example is scaled and shifted by a mixture of learnt components, by what it has.

    y = (λ Γ) x̂ + λ B, where x̂ is x standardised, Γ and B are ``components`` scales and shifts of
    each channel (K, C), drawn from N(1, 0.1²) and N(0, 0.1²), and λ (N, K) says how much each of
    them counts: λ = clamp((v + 3) / 6, 0, 1), v being W s standardised. s are μ / √(σ² + 0.001) of
    each channel of each example over H, W or, without ``use_rsd``, the μ alone.

    With ``base: batch``, x̂ is by the mean and variance of each channel over N, H, W, and v of each
    component over N; running statistics stand in for them in evaluation. With ``base: group`` both
    are those of each example, x̂ by groups of channels over H, W and v over K, and examples do not
    bear on each other. Takes (N, C, H, W). Raises ValueError when ``groups`` does not divide C.
    """

    def __init__(
        self,
        channels: int,
        layers: Layers,
        *,
        components: Annotated[int, Ge(1), Options((2, 5, 10, 20))] = 10,
        base: Annotated[Literal["batch", "group"], Options(("batch", "group"))] = "batch",
        groups: Annotated[int, Ge(1), Options((1, 2, 4, 8, 16, 32))] = 4,
        use_rsd: Annotated[bool, Options((True, False))] = True,
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__()
        self.use_rsd = use_rsd
        of_batch = base == "batch"
        self.base = (
            Standardised(channels, momentum, eps) if of_batch else Grouped(channels, groups, eps)
        )
        self.standard = (
            Standardised(components, momentum, eps) if of_batch else Grouped(components, 1, eps)
        )
        self.attention = layers.weighted(nn.Linear(channels, components, bias=False))
        self.mixed = Components(components, channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        scale, shift = (channelwise(of, h) for of in self.mixed(self.shares(h)))
        y: Tensor = self.base(h) * scale + shift
        return y.to(x.dtype)

    def shares(self, h: Tensor) -> Tensor:
        """How much each component counts for each example: (N, K), from 0 to 1."""
        mean, variance, _ = moments(h, (2, 3))
        summary = mean * (variance + SUMMARY_EPS).rsqrt() if self.use_rsd else mean
        attended: Tensor = self.standard(full(self.attention(summary.flatten(1))))
        return (attended / 6 + 0.5).clamp(0, 1)
