"""The networks of CycleGAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.architectures.patches import Patch, PatchDiscriminator
from sweeper.catalog.architectures.u_net import Block, given, given_channels, halvings
from sweeper.catalog.downsampling.strided_conv import StridedConv
from sweeper.catalog.families import architectures
from sweeper.catalog.initializations import dcgan_normal
from sweeper.catalog.upsampling.conv_transpose import ConvTranspose
from sweeper.game import Architecture, Batch, Context, Known, Layers, Part, Progress
from sweeper.registry import Options

halved = partial(StridedConv, kernel=3)


class Resampled(nn.Module):
    """Halved or doubled by a layer, normalised and rectified."""

    def __init__(
        self, layer: nn.Module, channels: int, depth: int, size: int, layers: Layers
    ) -> None:
        super().__init__()
        self.layer, self.norm = layer, layers.norm(channels)
        self.act = layers.activation(channels, nn.ReLU)
        self.after = layers.hidden(channels, depth, size)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.after(self.act(self.norm(self.layer(h, context), context))))


class Residual(nn.Module):
    """Twice convolved and normalised, once rectified in between, and added to what it was."""

    def __init__(self, channels: int, depth: int, size: int, layers: Layers) -> None:
        super().__init__()
        self.block = Block(channels, channels, depth, size, layers, nn.ReLU)
        self.conv = layers.conv(channels, channels)
        self.norm = layers.norm(channels)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        inner = self.conv(self.block(h, context), context)
        return h + cast(Tensor, self.norm(inner, context))


class Translator(nn.Module):
    """A convolution of 7 px, two halvings, residual blocks, two doublings, and again 7 px."""

    def __init__(self, shape: Sequence[int], channels: int, blocks: int, layers: Layers) -> None:
        super().__init__()
        halvings("cyclegan", shape)
        layers, size = layers.starting(dcgan_normal), min(shape[1:])
        a, b, c = channels, 2 * channels, 4 * channels
        inputs, deep = given_channels("cyclegan", layers.known), 3 + blocks
        self.steps = nn.ModuleList(
            [
                Block(inputs, a, 0, size, layers, nn.ReLU, kernel=7),
                Resampled(layers.down(a, b, halved, bias=True), b, 1, size // 2, layers),
                Resampled(layers.down(b, c, halved, bias=True), c, 2, size // 4, layers),
                *(Residual(c, 3 + k, size // 4, layers) for k in range(blocks)),
                Resampled(layers.up(c, b, ConvTranspose, bias=True), b, deep, size // 2, layers),
                Resampled(layers.up(b, a, ConvTranspose, bias=True), a, deep + 1, size, layers),
            ]
        )
        kernel = layers.output_kernel(7)
        self.last = layers.weighted(nn.Conv2d(a, shape[0], kernel, padding=kernel // 2))
        self.output = layers.output(shape)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context = context.styled(z)
        h = given(context)
        for step in self.steps:
            h = step(h, context)
        return cast(Tensor, self.output(self.last(h)))


@architectures.register(
    paper="zhu2017", needs={"images"}, provides={"feature_maps", "convolutions", "both_ways"}
)
class Cyclegan(Architecture):
    """Two translators between two kinds of images, each with a PatchGAN of its own.

    The pair "main" makes the target y of the source x, and its D sees y as real; the pair "back"
    makes the source of the target, and its D sees x. One optimizer trains both generators, another
    both discriminators, each on the sum of its losses. cycle_consistency_loss says that there and
    back again is where it began, identity_loss that what is of the other kind already stays as it
    is; neither needs x and y to belong together. "main" is judged.

    A translator takes (N, C, H, W), and the mask behind it where there is one: a convolution of
    7 px, two halvings, ``n_res_blocks`` residual blocks, two doublings, a convolution of 7 px (with
    zeros beyond the rim, where the paper reflects it). The latents are told to adaptive
    normalizations, and otherwise ignored. ``channels`` is the width at full size, and ``patch`` as
    in pix2pix. In the paper: instance_norm, least_squares, a cycle's weight of 10, an image_pool of
    50, Adam at 2e-4 with a linear decay from half of the training on, and G's move first.

    Raises ValueError where the data has no sources, and for sides that are no multiples of 4.
    """

    def __init__(
        self,
        *,
        channels: Annotated[int, Ge(1), Options((8, 16, 32))] = 16,
        n_res_blocks: Annotated[int, Ge(1), Options((2, 6, 9))] = 6,
        patch: Patch = 70,
    ) -> None:
        self.channels, self.n_res_blocks, self.patch = channels, n_res_blocks, patch

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Translator(shape, self.channels, self.n_res_blocks, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return PatchDiscriminator(shape, self.channels, self.patch, layers)

    def parts(self, shape: Sequence[int], known: Known) -> Mapping[str, Part]:
        if not known.source:
            raise ValueError("cyclegan makes images of two kinds, and the data has no sources")
        backwards = known._replace(source=shape[0])
        return {
            "main": Part(self, tuple(shape), known),
            "back": Part(self, (known.source, *shape[1:]), backwards),
        }

    def view(
        self, pair: str, real: Batch, made: Callable[[str], Tensor], progress: Progress
    ) -> Batch:
        return real if pair == "main" else turned(real)


def turned(real: Batch) -> Batch:
    """The same examples the other way round: images are sources, and sources images."""
    assert real.source is not None
    return replace(real, image=real.source, source=real.image)
