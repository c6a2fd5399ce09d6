"""Residual networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.architectures.ends import (
    SMALLEST,
    Head,
    doublings,
    spread,
    to_image,
    widths,
)
from sweeper.catalog.downsampling.pooling import AvgPool
from sweeper.catalog.families import architectures
from sweeper.catalog.initializations import xavier_uniform
from sweeper.catalog.upsampling.upsample_conv import UpsampleConv
from sweeper.game import Architecture, Batch, Context, Layers, Output
from sweeper.registry import Options

rectified = partial(xavier_uniform, gain=math.sqrt(2))
"""How weights start whose inputs are rectified."""


class Block(nn.Module):
    """skip(x) + second(act(norm(first(act(norm(x)))))).

    A block that ``begins`` a network is given an image, which is not rectified, and normalises
    nothing.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        *,
        first: nn.Module,
        second: nn.Module,
        skip: Sequence[nn.Module] = (),
        begins: bool = False,
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList([] if begins else map(layers.norm, (inputs, outputs)))
        self.begin = None if begins else layers.activation(inputs, nn.ReLU)
        self.first = first
        self.act = layers.activation(outputs, nn.ReLU)
        self.second = second
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = x if self.begin is None else self.begin(self.norms[0](x, context))
        h = self.first(h, context)
        h = h if self.begin is None else self.norms[1](h, context)
        return cast(Tensor, self.skip(x) + self.second(self.act(h), context))


def doubling(inputs: int, outputs: int, layers: Layers) -> Block:
    """A block that doubles the size of what it is given."""
    within = layers.starting(rectified)
    return Block(
        inputs,
        outputs,
        layers,
        first=within.up(inputs, outputs, UpsampleConv, bias=True),
        second=within.conv(outputs, outputs),
        # The same as a convolution of the doubled, by a quarter of the products.
        skip=(layers.weighted(nn.Conv2d(inputs, outputs, 1)), nn.Upsample(scale_factor=2)),
    )


def halving(inputs: int, outputs: int, layers: Layers, *, begins: bool = False) -> Block:
    """A block that halves the size of what it is given."""
    within = layers.starting(rectified)
    return Block(
        inputs,
        outputs,
        layers,
        first=within.conv(inputs, outputs),
        second=within.down(outputs, outputs, AvgPool, bias=True),
        skip=(nn.AvgPool2d(2), layers.weighted(nn.Conv2d(inputs, outputs, 1))),
        begins=begins,
    )


def keeping(channels: int, layers: Layers) -> Block:
    """A block that keeps the size, and whose skip is what it is given."""
    within = layers.starting(rectified)
    first, second = (within.conv(channels, channels) for _ in range(2))
    return Block(channels, channels, layers, first=first, second=second)


class Generator(nn.Module):
    """Latents to 4 px, then blocks that double, and an image of what they make, normalised and
    rectified."""

    def __init__(
        self, shape: Sequence[int], latent_size: int, channels: int, depth: int, layers: Layers
    ) -> None:
        super().__init__()
        wide = widths(channels, doublings("resnet_gan", shape))[::-1]
        layers = layers.starting(xavier_uniform)
        self.first = spread(latent_size, wide[0], layers)
        self.blocks, self.after = nn.ModuleList(), nn.ModuleList()
        for k, (inputs, outputs) in enumerate(pairwise([wide[0], *wide]), start=1):
            kept = (keeping(outputs, layers) for _ in range(depth - 1))
            for block in (doubling(inputs, outputs, layers), *kept):
                self.after.append(layers.hidden(outputs, len(self.blocks), SMALLEST << k))
                self.blocks.append(block)
        self.norm = layers.norm(channels)
        self.act = layers.activation(channels, nn.ReLU)
        self.last = to_image(channels, shape[0], layers.output_kernel(3), layers)
        self.output = layers.output(shape)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context = context.styled(z)
        h = self.first(z[:, :, None, None])
        for block, after in zip(self.blocks, self.after, strict=True):
            h = after(block(h, context))
        return cast(Tensor, self.output(self.last(self.act(self.norm(h, context)))))


class Discriminator(nn.Module):
    """Blocks that halve an image to 4 px and one that follows; what they find, rectified and summed
    over space, is scored by a line."""

    def __init__(self, shape: Sequence[int], channels: int, depth: int, layers: Layers) -> None:
        super().__init__()
        wide = widths(channels, doublings("resnet_gan", shape))
        layers = layers.starting(xavier_uniform)
        self.width = wide[-1]
        self.blocks, self.after = nn.ModuleList(), nn.ModuleList()
        for k, (inputs, outputs) in enumerate(pairwise([shape[0], *wide]), start=1):
            kept = (keeping(outputs, layers) for _ in range(depth - (k < len(wide))))
            for block in (halving(inputs, outputs, layers, begins=k == 1), *kept):
                self.after.append(layers.hidden(outputs, len(self.blocks), shape[1] >> k))
                self.blocks.append(block)
        self.act = layers.activation(self.width, nn.ReLU)
        self.summary = layers.summary((self.width, SMALLEST, SMALLEST))
        self.head = Head(layers, lambda n: nn.Linear(self.summary.channels, n))

    def forward(self, batch: Batch) -> Output:
        context, features, h = batch.context, list[Tensor](), batch.image
        for block, after in zip(self.blocks, self.after, strict=True):
            h = after(block(h, context))
            features.append(h)
        features[-1] = self.act(h)
        return cast(Output, self.head(self.summary(features[-1]).sum((2, 3)), features))


@architectures.register(
    paper="miyato2018", needs={"images"}, provides={"feature_maps", "convolutions"}
)
class ResnetGan(Architecture):
    """Residual networks (He et al. 2016) in the form of Gulrajani et al. (2017) and Miyato et al.
    (2018), for square images of 8, 16, 32, 64, … px.

    A block is skip(x) + conv(act(norm(conv(act(norm(x)))))), with convolutions of 3 x 3 and, where
    it resizes, a skip of 1 x 1. G doubles before the block's first convolution, by repeating
    pixels, and D halves after its second, by their means. D's first block takes the image as it is;
    its score is linear in its last activations, summed over space.

    ``channels`` is the width at the largest size; it doubles with each halving of the size, up to
    sixteen times as much. There are ``depth`` blocks at each size of which the first resizes, and
    one more at D's 4 px.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64,
        depth: Annotated[int, Ge(1), Options((1, 2))] = 1,
    ) -> None:
        self.channels, self.depth = channels, depth

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Generator(shape, latent_size, self.channels, self.depth, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return Discriminator(shape, self.channels, self.depth, layers)
