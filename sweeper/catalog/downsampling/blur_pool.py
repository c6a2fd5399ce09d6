"""Blurring before pixels are left out."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from sweeper.catalog.downsampling.pooling import Kernel, Pooling
from sweeper.catalog.families import downsampling
from sweeper.game import Layers
from sweeper.registry import Options

BINOMIALS = {3: (1.0, 2.0, 1.0), 5: (1.0, 4.0, 6.0, 4.0, 1.0)}


@downsampling.register(paper="zhang2019c", provides={"convolutions"})
class BlurPool(Pooling):
    """A convolution, then a low-pass filter, of which every second pixel is kept.

    The filter is [1, 2, 1] ⊗ [1, 2, 1] / 16, or of [1, 4, 6, 4, 1] for a ``window`` of 5; at the
    rim, the weights within the image are scaled to a sum of 1, so that a constant stays one. (N,
    inputs, H, W) to (N, outputs, H/2, W/2): a shift of the input by a pixel changes less than where
    pixels are left out unfiltered.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        kernel: Kernel = 3,
        window: Annotated[Literal[3, 5], Options((3, 5))] = 3,
    ) -> None:
        super().__init__(inputs, outputs, layers, bias, kernel)
        line = torch.tensor(BINOMIALS[window])
        self.register_buffer("filter", torch.outer(line, line) / line.sum() ** 2, persistent=False)

    def pool(self, h: Tensor) -> Tensor:
        weights = self.get_buffer("filter").to(h.dtype)[None, None]
        return blurred(h, weights) / blurred(torch.ones_like(h[:1, :1]), weights)


def blurred(x: Tensor, weights: Tensor) -> Tensor:
    """Each channel filtered by weights (1, 1, K, K), at every second pixel; nothing is beyond the
    rim."""
    each = conv2d(x.flatten(0, 1)[:, None], weights, stride=2, padding=weights.shape[-1] // 2)
    return each.reshape(*x.shape[:2], *each.shape[-2:])
