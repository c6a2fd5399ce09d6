"""The transposed convolution."""

from __future__ import annotations

from typing import Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import upsampling
from sweeper.game import Context, Layers
from sweeper.registry import Options


@upsampling.register(paper="radford2016")
class ConvTranspose(nn.Module):
    """A transposed convolution of stride 2.

    Where 2 does not divide the ``kernel``, pixels are made of unequally many terms: a checkerboard.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        kernel: Annotated[int, Ge(2), Options((4, 5))] = 4,
    ) -> None:
        super().__init__()
        odd = kernel % 2
        self.conv = layers.weighted(
            nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, odd, bias=bias)
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.conv(x))
