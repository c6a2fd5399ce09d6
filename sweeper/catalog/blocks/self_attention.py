"""Self-attention."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import blocks
from sweeper.game import Layers
from sweeper.registry import Options


class Attention(nn.Module):
    """Self-attention where it stands."""

    def __init__(self, channels: int, reduction: int, layers: Layers) -> None:
        super().__init__()
        narrow = max(channels // reduction, 1)
        self.query = layers.weighted(nn.Conv2d(channels, narrow, 1))
        self.key = layers.weighted(nn.Conv2d(channels, narrow, 1))
        self.value = layers.weighted(nn.Conv2d(channels, channels, 1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, x: Tensor) -> Tensor:
        """How much each place looks at each: (N, HW, HW), whose rows sum to one."""
        f, g = self.query(x).flatten(2), self.key(x).flatten(2)
        return torch.bmm(f.transpose(1, 2), g).softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.value(x).flatten(2)
        seen = torch.bmm(h, self.attention(x).transpose(1, 2))
        return x + self.gamma * seen.reshape_as(x)


@blocks.register(paper="zhang2019b", needs={"feature_maps"})
def self_attention(
    channels: int,
    size: int,
    layers: Layers,
    *,
    at: Annotated[int, Ge(2), Options((8, 16, 32))] = 8,
    reduction: Annotated[int, Ge(1), Options((4, 8))] = 8,
) -> Attention | None:
    """Every place looks at every other, where hidden activations are ``at`` px wide.

    A = softmax_j(f(x_i) · g(x_j)), y_i = x_i + γ Σ_j A_ij h(x_j), over all places j of an image; f
    and g are 1x1 convolutions to C/``reduction`` channels, h one to C, and γ starts at 0: a network
    begins as if the block were not there. Takes (N, C, H, W); A is (N, HW, HW), which is what it
    costs in memory.

    It is made of plain matrix products, for the sake of second derivatives: fused attention has
    none. A trial whose networks have no layer of that size is refused.
    """
    return Attention(channels, reduction, layers) if size == at else None
