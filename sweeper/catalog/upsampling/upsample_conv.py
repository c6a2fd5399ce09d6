"""Enlarging, then a convolution."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from torch import Tensor, nn
from torch.nn.functional import interpolate

from sweeper.catalog.families import upsampling
from sweeper.game import Context, Layers
from sweeper.registry import Options

Mode = Annotated[Literal["nearest", "bilinear"], Options(("nearest", "bilinear"))]


def doubled(x: Tensor, mode: str) -> Tensor:
    """An image (N, C, H, W) of twice the size: every pixel four times, or what lies between."""
    return interpolate(x, scale_factor=2, mode=mode)


@upsampling.register(paper="odena2016", provides={"convolutions"})
class UpsampleConv(nn.Module):
    """The image is enlarged, then convolved: y = W * up₂(x).

    (N, inputs, H, W) to (N, outputs, 2H, 2W). ``mode`` repeats the nearest pixel or goes along
    lines between them (corners are not aligned). Every pixel is made of equally many terms, so that
    there is no checkerboard. The convolution, of an odd ``kernel``, is that of the trial.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        mode: Mode = "nearest",
        kernel: Annotated[Literal[3, 5], Options((3, 5))] = 3,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.conv = layers.conv(inputs, outputs, kernel, bias=bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.conv(doubled(x, self.mode), context))
