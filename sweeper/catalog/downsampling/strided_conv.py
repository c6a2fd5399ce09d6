"""The strided convolution."""

from __future__ import annotations

from typing import Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import downsampling
from sweeper.game import Context, Layers
from sweeper.registry import Options


@downsampling.register(paper="radford2016")
class StridedConv(nn.Module):
    """A convolution of stride 2."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        kernel: Annotated[int, Ge(2), Options((3, 4, 5))] = 4,
    ) -> None:
        super().__init__()
        self.conv = layers.weighted(
            nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, bias=bias)
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.conv(x))
