"""Spatially-adaptive normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.told import Base, mask, planes_of, standardising
from sweeper.game import Context, Known, Layers
from sweeper.registry import Law, Options

BATCH = "base == batch"
"""When the statistics are those of a batch."""


class Modulation(nn.Module):
    """A scale and a shift for every place, from maps of what is there: (N, M, H, W) to (N, C, H, W)
    each."""

    def __init__(
        self, planes: int, hidden: int, channels: int, kernel: int, act: nn.Module, layers: Layers
    ) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int) -> nn.Module:
            return layers.weighted(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))

        self.first = nn.Sequential(conv(planes, hidden), act)
        self.scale, self.shift = conv(hidden, channels), conv(hidden, channels)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        h = self.first(maps)
        return self.scale(h), self.shift(h)


@normalizations.register(
    paper="park2019",
    needs={"feature_maps"},
    provides={
        Law("batch_statistics", when=BATCH),
        Law("batch_coupled", when=BATCH),
        Law("no_third_derivative", when="base == instance"),
    },
    facts={"told": ("mask",)},
)
class Spade(nn.Module):
    """Each channel is standardised, then scaled and shifted at every place by what the mask says.

    y = (1 + γ(m)) · (x - μ) / √(σ² + ε) + β(m), with γ and β (N, C, H, W): h = ReLU(conv(m)), γ =
    conv(h), β = conv(h), where m is the mask of M planes, resized to x by the nearest pixel, and h
    has ``hidden`` channels. μ and σ² of each channel are over (N, H, W) and all ranks with the
    ``base`` batch, for which running statistics stand in in evaluation; over (H, W) with instance.
    Takes (N, C, H, W).
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        layers: Layers,
        *,
        hidden: Annotated[int, Ge(1), Options((32, 64, 128))] = 128,
        kernel: Annotated[int, Ge(1), Options((1, 3, 5))] = 3,
        base: Annotated[Base, Options(("batch", "instance"))] = "batch",
    ) -> None:
        super().__init__()
        self.norm = standardising(base, channels)
        self.rows = Modulation(
            planes_of(known, "spade"), hidden, channels, kernel, nn.ReLU(), layers
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        scale, shift = self.rows(mask(context, x))
        y: Tensor = self.norm(x) * (1 + scale) + shift
        return y.to(x.dtype)
