"""Squeeze and excitation."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import blocks
from sweeper.game import Layers
from sweeper.registry import Options


@blocks.register(paper="hu2018")
class SqueezeExcitation(nn.Module):
    """Each channel is scaled by a number in (0, 1) that is read off all of them.

    s = σ(W₂ relu(W₁ mean(x) + b₁) + b₂), y = s x: the mean is over space, W₁ leads to
    C/``reduction`` numbers and W₂ back. Takes (N, C, ...), after every hidden layer.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        layers: Layers,
        *,
        reduction: Annotated[int, Ge(1), Options((4, 8, 16))] = 16,
    ) -> None:
        super().__init__()
        narrow = max(channels // reduction, 1)
        self.squeeze = layers.weighted(nn.Linear(channels, narrow))
        self.excite = layers.weighted(nn.Linear(narrow, channels))

    def scale(self, x: Tensor) -> Tensor:
        """What each channel is multiplied by, (N, C)."""
        mean = x.flatten(2).mean(2) if x.ndim > 2 else x
        return self.excite(self.squeeze(mean).relu()).sigmoid()  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
