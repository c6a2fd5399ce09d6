"""Pixel shuffle."""

from __future__ import annotations

from typing import Annotated, cast

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from sweeper.catalog.families import upsampling
from sweeper.game import Context, Layers, as_made
from sweeper.registry import Options

FACTOR = 2


@upsampling.register(paper="shi2016")
class PixelShuffle(nn.Module):
    """A 3x3 convolution to four times the channels, each four of which are one of twice the size.

    out[c, 2h + i, 2w + j] = in[4c + 2i + j, h, w]: (N, inputs, H, W) to (N, outputs, 2H, 2W). With
    ``icnr`` (Aitken et al. 2017) the four start equal, as if the nearest pixel were repeated:
    weights drawn at random would be a checkerboard.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        icnr: Annotated[bool, Options((False, True))] = True,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, FACTOR**2 * outputs, 3, padding=1, bias=bias)
        self.conv = layers.weighted(conv, alike if icnr else as_made)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return pixel_shuffle(cast(Tensor, self.conv(x)), FACTOR)


def alike(layer: nn.Module) -> None:
    """Give the channels that become one the weights of the first of them."""
    for parameter in layer.parameters():
        parameter.copy_(parameter[:: FACTOR**2].repeat_interleave(FACTOR**2, dim=0))
