"""Networks that grow from small images to large ones while they are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from sweeper.catalog.architectures.ends import (
    SMALLEST,
    Head,
    Whole,
    doublings,
    spread,
    to_image,
    widths,
)
from sweeper.catalog.downsampling.pooling import AvgPool
from sweeper.catalog.families import architectures
from sweeper.catalog.initializations import he_normal
from sweeper.catalog.upsampling.upsample_conv import UpsampleConv
from sweeper.game import Architecture, Batch, Context, Layers, Output, Paced, Progress
from sweeper.registry import LogUniform, Options

FEWEST = 2
"""Stages between which there is something to grow."""

leaky = partial(nn.LeakyReLU, 0.2)


@dataclass(frozen=True)
class Growth:
    """When networks grow: each of so many ``stages`` is stable for a while, and between two of them
    the next fades in. Times are in thousands of images, or None for an equal share of what the
    others leave of the horizon."""

    stages: int
    fade: float | None
    stable: float | None

    @property
    def least(self) -> float:
        """The thousands of images that are asked for."""
        return self.stages * (self.stable or 0.0) + (self.stages - 1) * (self.fade or 0.0)

    def lasting(self, horizon: float) -> tuple[float, float]:
        """How many images a stable time lasts, and how many a fade."""
        shares = self.stages * (self.stable is None) + (self.stages - 1) * (self.fade is None)
        share = (horizon - 1000 * self.least) / max(shares, 1)
        stable, fade = (share if t is None else 1000 * t for t in (self.stable, self.fade))
        return stable, fade

    def at(self, progress: Progress) -> float:
        """How far networks have grown: 2 where the third stage is stable, and 1.3 where it has
        faded in by 0.3."""
        stable, fade = self.lasting(progress.horizon)
        stage, beyond = divmod(progress.images, stable + fade)
        return min(stage + max(0.0, beyond - stable) / fade, self.stages - 1.0)

    def times_smaller(self, stage: int) -> int:
        """How many times smaller the images of a stage are than those of the last."""
        return 1 << self.stages - 1 - stage


def faded(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    """(1 - α) old + α new."""
    return torch.lerp(old, new, alpha)


def enlarged(x: Tensor, times: int) -> Tensor:
    """Each pixel of (N, C, H, W) so many times in either direction."""
    return x if times == 1 else interpolate(x, scale_factor=times)


def reduced(x: Tensor, times: int) -> Tensor:
    """The means of squares of (N, C, H, W) of so many pixels to a side."""
    return x if times == 1 else avg_pool2d(x, times)


def shown(image: Tensor, times: int, alpha: float) -> Tensor:
    """An image as a G that makes images so many times smaller would show it, while their last
    doubling has faded in by α."""
    x = reduced(image, times)
    if alpha < 1:
        x = faded(enlarged(reduced(x, 2), 2), x, alpha)
    return enlarged(x, times)


class Growing(Paced):
    """A network that has all its layers from the start, and uses those that it has grown into: all
    of them, until it is paced."""

    grown: Tensor

    def __init__(self, growth: Growth) -> None:
        super().__init__()
        self.growth = growth
        self.register_buffer("grown", torch.tensor(growth.stages - 1.0))

    def pace(self, progress: Progress) -> None:
        self.grown.fill_(self.growth.at(progress))

    @property
    def now(self) -> tuple[int, float]:
        """The newest stage, from 0, and by how much it has faded in: 1 where it is stable."""
        return newest(float(self.grown))


def newest(grown: float) -> tuple[int, float]:
    stage = math.ceil(grown)
    return stage, 1 - (stage - grown)


class Layer(nn.Module):
    """norm(act(linear(x)))."""

    def __init__(
        self, linear: nn.Module, channels: int, layers: Layers, *, normalised: bool = True
    ) -> None:
        super().__init__()
        self.linear = linear
        self.act = layers.activation(channels, leaky)
        self.norm = layers.norm(channels) if normalised else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = self.act(self.linear(x, context))
        return cast(Tensor, h if self.norm is None else self.norm(h, context))


class Block(nn.Module):
    """Two layers, of which one may resize, and what follows them."""

    def __init__(self, first: nn.Module, second: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.after = first, second, after

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.after(self.second(self.first(x, context), context)))


class Generator(Growing):
    """Latents to 4 px, doubled as often as the network has grown, to an image, which is enlarged to
    its full size."""

    def __init__(
        self,
        shape: Sequence[int],
        latent_size: int,
        channels: int,
        growth: Growth,
        layers: Layers,
    ) -> None:
        super().__init__(growth)
        n = doublings("progressive_growing", shape)
        wide = widths(channels, n + 1)[::-1]
        layers = layers.starting(he_normal)
        self.before = n + 1 - growth.stages
        self.first = spread(latent_size, wide[0], layers)
        self.act, self.norm = layers.activation(wide[0], leaky), layers.norm(wide[0])
        self.begin = Layer(layers.conv(wide[0], wide[0]), wide[0], layers)
        self.after = layers.hidden(wide[0], 0, SMALLEST)
        self.blocks = nn.ModuleList(
            Block(
                Layer(layers.up(a, b, UpsampleConv, bias=True), b, layers),
                Layer(layers.conv(b, b), b, layers),
                layers.hidden(b, k, SMALLEST << k),
            )
            for k, (a, b) in enumerate(pairwise(wide), start=1)
        )
        self.images = nn.ModuleList(
            to_image(c, shape[0], layers.output_kernel(1), layers) for c in wide[self.before :]
        )
        self.output = layers.output(shape)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context, (stage, alpha) = context.styled(z), self.now
        h = self.norm(self.act(self.first(z[:, :, None, None])), context)
        old = h = self.after(self.begin(h, context))
        for block in self.blocks[: self.before + stage]:
            old, h = h, block(h, context)
        image = self.images[stage](h)
        if alpha < 1:
            image = faded(enlarged(self.images[stage - 1](old), 2), image, alpha)
        return cast(Tensor, self.output(enlarged(image, self.growth.times_smaller(stage))))


class Discriminator(Growing):
    """The image is reduced to the size to which the network has grown, then halved to 4 px."""

    def __init__(self, shape: Sequence[int], channels: int, growth: Growth, layers: Layers) -> None:
        super().__init__(growth)
        n = doublings("progressive_growing", shape)
        wide = widths(channels, n + 1)[::-1]
        layers = layers.starting(he_normal)
        self.before = n + 1 - growth.stages
        self.images = nn.ModuleList(
            nn.Sequential(layers.weighted(nn.Conv2d(shape[0], c, 1)), layers.activation(c, leaky))
            for c in wide[self.before :]
        )
        self.blocks = nn.ModuleList(
            Block(
                Layer(layers.conv(b, b), b, layers),
                Layer(layers.down(b, a, AvgPool, bias=True), a, layers),
                layers.hidden(a, depth, shape[1] >> depth + 1),
            )
            for depth, (b, a) in enumerate(pairwise(wide[::-1]))
        )
        self.width = wide[0]
        self.end = Layer(layers.conv(self.width, self.width), self.width, layers)
        self.after = layers.hidden(self.width, n, SMALLEST)
        self.summary = layers.summary((self.width, SMALLEST, SMALLEST))
        self.last = layers.weighted(Whole(self.summary.channels, self.width, SMALLEST))
        self.act = layers.activation(self.width, leaky)
        self.head = Head(layers, lambda n: nn.Linear(self.width, n))

    def forward(self, batch: Batch) -> Output:
        context, features, (stage, alpha) = batch.context, list[Tensor](), self.now
        x = reduced(batch.image, self.growth.times_smaller(stage))
        h = self.images[stage](x)
        for block in self.blocks[len(self.blocks) - self.before - stage :]:
            h = block(h, context)
            if alpha < 1 and not features:
                h = faded(self.images[stage - 1](reduced(x, 2)), h, alpha)
            features.append(h)
        features.append(self.after(self.end(h, context)))
        h = self.act(self.last(self.summary(features[-1])).flatten(1))
        return cast(Output, self.head(h, features))


@architectures.register(
    paper="karras2018", needs={"images"}, provides={"feature_maps", "convolutions"}
)
class ProgressiveGrowing(Architecture):
    """Networks that begin with small images, and double their size stage by stage.

    The last stage is of the data's size, a power of two from 8 px. All layers are there from the
    start; how many of them are used is a function of the images seen. Stages of ``start_res``,
    twice as many px, … are stable for ``stable_kimg`` each, and between two of them the new one
    fades in for ``fade_kimg``, α from 0 to 1 along a line: G makes (1 - α) · up₂(rgb_old(h)) + α ·
    rgb_new(block(h)), and D goes on from (1 - α) · from_old(down₂(x)) + α · block(from_new(x)),
    with convolutions of 1 x 1 to images and from them. What is left out is an equal share of what
    the others leave of the horizon; a horizon that does not cover all stages is refused.

    Images have their full size all along: G enlarges what it makes by repeating pixels, D reduces
    what it is shown by their means, and is shown real images as reduced, blended and enlarged as
    fakes are. So scores of early stages, and gradients by pixels, are those of coarse images.

    A block is two layers of norm(act(conv(x))): the activations are normalised, as pixel_norm is
    meant to be. ``channels`` is the width at the largest size; it doubles with each halving of the
    size, up to sixteen times as much.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(1), Options((8, 16, 32, 64))] = 16,
        start_res: Annotated[Literal[4, 8], Options((4, 8))] = 4,
        fade_kimg: Annotated[float | None, Gt(0), LogUniform(1, 600)] = None,
        stable_kimg: Annotated[float | None, Gt(0), LogUniform(1, 600)] = None,
    ) -> None:
        self.channels, self.start = channels, start_res
        self.fade, self.stable = fade_kimg, stable_kimg

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Generator(shape, latent_size, self.channels, self.growth(shape), layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return Discriminator(shape, self.channels, self.growth(shape), layers)

    def view(
        self, pair: str, real: Batch, made: Callable[[str], Tensor], progress: Progress
    ) -> Batch:
        growth = self.growth(real.image.shape[1:])
        stage, alpha = newest(growth.at(progress))
        return real.showing(shown(real.image, growth.times_smaller(stage), alpha))

    def fits(self, shape: Sequence[int], horizon_kimg: float) -> None:
        growth = self.growth(shape)
        if growth.least > horizon_kimg:
            raise ValueError(
                f"the horizon covers all stages, and {growth.stages} of them up to {shape[1]} px "
                f"take {growth.least:g} kimg, but horizon_kimg is {horizon_kimg:g}"
            )

    def growth(self, shape: Sequence[int]) -> Growth:
        """When networks for images of a shape grow. Raises ValueError where they cannot."""
        smaller = self.start.bit_length() - SMALLEST.bit_length()
        stages = doublings("progressive_growing", shape) + 1 - smaller
        if stages < FEWEST:
            raise ValueError(
                f"progressive_growing grows to images of more than start_res, but start_res is "
                f"{self.start}, and images are of {shape[1]} px"
            )
        return Growth(stages, self.fade, self.stable)
