"""Layer normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.game import Context
from sweeper.registry import Options


@normalizations.register(paper="ba2016")
class LayerNorm(nn.GroupNorm):
    """Each example is standardised over channels and space.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those of each example over C, H, W, and γ and
    β those of each channel, so that any size fits. Takes (N, C, ...).
    """

    def __init__(
        self, channels: int, *, eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5
    ) -> None:
        super().__init__(1, channels, eps=eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        return super().forward(x)
