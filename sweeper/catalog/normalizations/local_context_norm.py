"""Local context normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import pad

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import Affine, full
from sweeper.game import Context
from sweeper.registry import Options


def window_means(h: Tensor, high: int, wide: int) -> Tensor:
    """The means of all windows of (N, G, H, W) that lie within: (N, G, H - high + 1, W - wide + 1).

    By integral images: the sum over a window is that of its corners in the sums over all that lies
    above and to the left, whatever its size.
    """
    sums = pad(h.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
    below = sums[:, :, high:] - sums[:, :, :-high]
    return (below[..., wide:] - below[..., :-wide]) / (high * wide)


def spread(found: Tensor, height: int, width: int) -> Tensor:
    """What was found of windows, at the places in their middle, and at those too near to the edge
    to be one, what was found nearest to them."""
    down, right = height - found.shape[2], width - found.shape[3]
    around = (right // 2, right - right // 2, down // 2, down - down // 2)
    return pad(found, around, mode="replicate")


@normalizations.register(paper="ortiz2020", needs={"feature_maps"})
class LocalContextNorm(Affine):
    """Each place of each example is standardised by its neighbourhood, in a group of channels.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those over a window of ``window`` × ``window``
    places about the place, in each group of ``channels_per_group`` channels of each example. At the
    edge, they are those of the nearest window that lies within; a window as large as the map makes
    it group normalization. γ and β are those of each channel. Without ``stats_grad`` the statistics
    are taken for constants in gradients, as in the paper's code.

    Takes (N, C, H, W). Raises ValueError when ``channels_per_group`` does not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        window: Annotated[int, Ge(2), Options((3, 5, 9, 17, 33, 65))] = 9,
        channels_per_group: Annotated[int, Ge(1), Options((1, 2, 4, 8))] = 2,
        stats_grad: Annotated[bool, Options((True, False))] = True,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        if channels % channels_per_group:
            law = "channels_per_group of local_context_norm divides the channels"
            raise ValueError(f"{law}, but got {channels_per_group} and {channels}")
        super().__init__(channels)
        self.window, self.size = window, channels_per_group
        self.stats_grad, self.eps = stats_grad, eps

    def forward(self, x: Tensor, context: Context) -> Tensor:
        grouped = full(x).reshape(x.shape[0], -1, self.size, *x.shape[2:])
        # It changes nothing but the rounding: of numbers about 0, the squares lose the least.
        grouped = grouped - grouped.detach().mean((2, 3, 4), keepdim=True)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stats_grad):
            mean, variance = (found.unsqueeze(2) for found in self.statistics(grouped))
        y = ((grouped - mean) * (variance + self.eps).rsqrt()).flatten(1, 2)
        return self.scaled(y).to(x.dtype)

    def statistics(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the variance about each place of groups (N, G, C/G, H, W): (N, G, H, W)."""
        height, width = h.shape[3:]
        high, wide = min(self.window, height), min(self.window, width)
        mean, square = (window_means(p.mean(2), high, wide) for p in (h, h.square()))
        variance = (square - mean.square()).clamp(min=0)
        return spread(mean, height, width).to(h), spread(variance, height, width).to(h)
