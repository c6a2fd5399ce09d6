"""Partial convolution."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, avg_pool2d, interpolate

from sweeper.catalog.families import convolutions
from sweeper.game import Context, Layers
from sweeper.registry import Options

TRAIL = "partial_conv"


@convolutions.register(paper="liu2018", needs={"convolutions"}, facts={"told": ("mask",)})
class PartialConv(nn.Module):
    """A convolution of those pixels alone that are known, whose number grows from layer to layer.

    y = W * (x ⊙ m) · k²/Σm + b where the window holds a known pixel, and 0 elsewhere; Σm counts the
    known ones among its k², and then m ← 1[Σm > 0]. (N, inputs, H, W) to (N, outputs, H, W); beyond
    the rim nothing is known.

    The first such layer of a pass takes m from the mask: what is ``unknown`` lies inside or outside
    of it. It leaves m to the next; where that sees another size, a smaller pixel is known if it was
    in the larger one, and a larger one if any was within. Raises ValueError when there is no mask.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        layers: Layers,
        bias: bool = True,
        *,
        unknown: Annotated[Literal["inside", "outside"], Options(("inside", "outside"))] = "inside",
    ) -> None:
        super().__init__()
        self.unknown, self.kernel = unknown, kernel
        self.conv = layers.weighted(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        )
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def known(self, x: Tensor, context: Context) -> Tensor:
        """Where something is known of an input: (N, 1, H, W), 1 or 0."""
        left: Tensor | None = context.trail.get(TRAIL)
        if left is None:
            if context.mask is None:
                raise ValueError("partial_conv is told a mask for every example")
            inside = (context.mask.amax(1, keepdim=True) > 0.5).to(x.dtype)
            left = 1 - inside if self.unknown == "inside" else inside
        return resized(left, x.shape[-2:])

    def forward(self, x: Tensor, context: Context) -> Tensor:
        with torch.no_grad():
            m = self.known(x, context)
            share = avg_pool2d(m, self.kernel, 1, self.kernel // 2)
            seen = (share > 0).to(x.dtype)
            context.trail[TRAIL] = seen
        y: Tensor = self.conv(x * m) * (seen / share.clamp(min=0.5 / self.kernel**2))
        return y if self.bias is None else y + self.bias[:, None, None] * seen


def resized(mask: Tensor, size: torch.Size) -> Tensor:
    """A mask (N, 1, H, W) of another size, in which whatever holds a known pixel is known."""
    if mask.shape[-2:] == size:
        return mask
    if mask.shape[-1] > size[-1]:
        return adaptive_max_pool2d(mask, list(size))
    return interpolate(mask, list(size), mode="nearest")
