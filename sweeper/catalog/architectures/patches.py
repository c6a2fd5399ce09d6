"""A discriminator that scores overlapping patches of an image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal, cast

from torch import Tensor, nn

from sweeper.catalog.architectures.u_net import WIDEST
from sweeper.catalog.downsampling.strided_conv import StridedConv
from sweeper.catalog.initializations import dcgan_normal
from sweeper.game import Batch, Layers, Output
from sweeper.registry import Options

Patch = Annotated[Literal[16, 34, 70], Options((16, 34, 70))]
"""The side of a patch, in pixels."""

HALVINGS = {16: 1, 34: 2, 70: 3}
"""How often an image is halved on the way to the scores of patches."""
LEAST = 4
"""The side of the smallest map that a convolution of the last two is given."""

leaky = partial(nn.LeakyReLU, 0.2)


def halvings_to(patch: int, shape: Sequence[int]) -> int:
    """How often an image of a shape is halved: no further than to 4 px, where a patch covers it.
    Raises ValueError for an image that is smaller than 8 px."""
    side = min(shape[1:])
    if side < 2 * LEAST:
        raise ValueError(f"patches are of images of 8 px and more, but got {shape[1]}x{shape[2]}")
    return min(HALVINGS[patch], (side // LEAST).bit_length() - 1)


class PatchDiscriminator(nn.Module):
    """Halved, then two convolutions of 4 px that keep the scale: a map of scores, (N, P), each of a
    square of ``patch`` px. The first layer is not normalised."""

    def __init__(self, shape: Sequence[int], channels: int, patch: int, layers: Layers) -> None:
        super().__init__()
        layers, n = layers.starting(dcgan_normal), halvings_to(patch, shape)
        widths = [channels * min(1 << k, WIDEST) for k in range(n + 1)]
        size = min(shape[1:])
        self.first = layers.down(shape[0], channels, StridedConv, bias=True)
        self.downs = nn.ModuleList(layers.down(a, b, StridedConv) for a, b in pairwise(widths[:-1]))
        self.wide = layers.weighted(nn.Conv2d(widths[-2], widths[-1], 4, padding=1, bias=False))
        self.norms = nn.ModuleList(map(layers.norm, widths[1:]))
        self.acts = nn.ModuleList(layers.activation(b, leaky) for b in widths)
        sizes = [*(size >> k + 1 for k in range(n)), (size >> n) - 1]
        self.after = nn.ModuleList(
            layers.hidden(b, depth, side)
            for depth, (b, side) in enumerate(zip(widths, sizes, strict=True))
        )
        self.width = widths[-1]
        height, width = ((side >> n) - 1 for side in shape[1:])
        self.summary = layers.summary((self.width, height, width))
        self.head = layers.weighted(nn.Conv2d(self.summary.channels, 1, 4, padding=1))
        self.classes = (
            layers.weighted(nn.Conv2d(self.summary.channels, layers.classes, 4, padding=1))
            if layers.classes
            else None
        )

    def forward(self, batch: Batch) -> Output:
        context, features = batch.context, list[Tensor]()
        h = self.first(batch.image, context)
        for depth, (act, after) in enumerate(zip(self.acts, self.after, strict=True)):
            if depth:
                last = depth > len(self.downs)
                h = self.wide(h) if last else self.downs[depth - 1](h, context)
                h = self.norms[depth - 1](h, context)
            h = after(act(h))
            features.append(h)
        h = self.summary(h)
        scores = cast(Tensor, self.head(h)).flatten(1)
        classes = None if self.classes is None else self.classes(h).mean((2, 3))
        return Output(scores, tuple(features), classes)
