"""Noise in the layers of G."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from sweeper.catalog.families import tricks
from sweeper.game import Coupled, Player, Trick
from sweeper.registry import LogUniform, Options


@tricks.register(paper="zhao2017", facts={"stage": 50})
class GeneratorNoiseInjection(Trick):
    """Gaussian noise on every hidden layer of G, after its activation, also when it is evaluated.

    h ← h + s · n, n ~ N(0, 1), drawn anew in each pass. s is ``sigma``; without one (null), it is
    learnt for each channel, from 0 on, as in StyleGAN. n is of the shape of h, or, with
    ``shared_channels``, the same for all channels of an example, (N, 1, H, W).
    """

    def __init__(
        self,
        *,
        sigma: Annotated[float | None, Gt(0), LogUniform(1e-3, 0.5)] = 0.05,
        shared_channels: Annotated[bool, Options((False, True))] = False,
    ) -> None:
        super().__init__()
        self.sigma, self.shared_channels = sigma, shared_channels

    def hidden(self, player: Player, channels: int, depth: int) -> nn.Module | None:
        return Noise(channels, self.sigma, self.shared_channels) if player is Player.G else None


class Noise(Coupled):
    """Gaussian noise on activations (N, channels, ...), of a given scale or learnt ones."""

    scale: Tensor | float

    def __init__(self, channels: int, sigma: float | None, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.scale = nn.Parameter(torch.zeros(channels)) if sigma is None else sigma

    def forward(self, h: Tensor) -> Tensor:
        own, channels, *space = h.shape
        shape = (1 if self.shared else channels, *space)

        def draw(n: int) -> Tensor:
            return torch.randn(n, *shape, dtype=h.dtype, device=h.device)

        noise = self.company.drawn(own, draw)
        if isinstance(self.scale, Tensor):
            return h + self.scale.to(h.dtype).reshape(-1, *[1] * len(space)) * noise
        return h + self.scale * noise
