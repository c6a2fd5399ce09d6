"""The plain convolution."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from sweeper.game import Context, Layers


class Conv(nn.Module):
    """An ordinary convolution of an odd kernel, padded with zeros."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, layers: Layers, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = layers.weighted(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.conv(x))
