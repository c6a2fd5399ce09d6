"""Enlarging, then a convolution of one pixel."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from sweeper.catalog.families import upsampling
from sweeper.catalog.upsampling.upsample_conv import Mode, doubled
from sweeper.game import Context, Layers


@upsampling.register("upsample_conv1x1", paper="odena2016")
class UpsampleConv1x1(nn.Module):
    """The image is enlarged, then its channels are mixed: y = W up₂(x), W of 1x1 px.

    (N, inputs, H, W) to (N, outputs, 2H, 2W). Both steps commute: nothing is sharper than what
    ``mode`` makes of the smaller image, so other layers have to draw the details.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        mode: Mode = "bilinear",
    ) -> None:
        super().__init__()
        self.mode = mode
        self.conv = layers.weighted(nn.Conv2d(inputs, outputs, 1, bias=bias))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        # At the smaller size, which is the same and costs a quarter.
        return doubled(cast(Tensor, self.conv(x)), self.mode)
