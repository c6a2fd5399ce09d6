"""Spatial feature transform."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.spade import Modulation
from sweeper.catalog.normalizations.told import mask, planes_of
from sweeper.game import Context, Known, Layers
from sweeper.registry import Options


@normalizations.register(paper="wang2018sft", needs={"feature_maps"}, facts={"told": ("mask",)})
class SpatialFeatureTransform(nn.Module):
    """Nothing is standardised: activations are scaled and shifted by what the mask says.

    y = (1 + γ(Ψ)) · x + β(Ψ), with γ and β (N, C, H, W) by 1x1 convolutions of ``hidden`` features
    Ψ = leaky(conv(m)) of the mask m, which is resized to x by the nearest pixel. Takes (N, C, H,
    W). No statistics are taken.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        layers: Layers,
        *,
        hidden: Annotated[int, Ge(1), Options((16, 32, 64))] = 32,
    ) -> None:
        super().__init__()
        planes = planes_of(known, "spatial_feature_transform")
        self.rows = Modulation(planes, hidden, channels, 1, nn.LeakyReLU(0.1), layers)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        scale, shift = self.rows(mask(context, x))
        y: Tensor = x * (1 + scale) + shift
        return y.to(x.dtype)
