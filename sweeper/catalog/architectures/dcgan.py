"""The DCGAN networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.architectures.ends import (
    SMALLEST,
    Head,
    Whole,
    doublings,
    spread,
    to_image,
    widths,
)
from sweeper.catalog.downsampling.strided_conv import StridedConv
from sweeper.catalog.families import architectures
from sweeper.catalog.initializations import dcgan_normal
from sweeper.catalog.upsampling.conv_transpose import ConvTranspose
from sweeper.game import Architecture, Batch, Context, Layers, Output
from sweeper.registry import Options

leaky = partial(nn.LeakyReLU, 0.2)


class Last(nn.Module):
    """Doubled once more, rectified, and to an image by a convolution of a kernel."""

    def __init__(self, channels: int, outputs: int, kernel: int, layers: Layers) -> None:
        super().__init__()
        self.up = layers.up(channels, channels, ConvTranspose, bias=True)
        self.act = layers.activation(channels, nn.ReLU)
        self.conv = to_image(channels, outputs, kernel, layers)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        return cast(Tensor, self.conv(self.act(self.up(h, context))))


class Generator(nn.Module):
    """Latents to 4 px, then doubled, normalised and rectified, to an image in the range of real
    ones."""

    def __init__(
        self, shape: Sequence[int], latent_size: int, channels: int, layers: Layers
    ) -> None:
        super().__init__()
        wide = widths(channels, doublings("dcgan", shape))[::-1]
        layers = layers.starting(dcgan_normal)
        self.first = spread(latent_size, wide[0], layers, bias=False)
        self.ups = nn.ModuleList(layers.up(a, b, ConvTranspose) for a, b in pairwise(wide))
        self.norms = nn.ModuleList(map(layers.norm, wide))
        self.acts = nn.ModuleList(layers.activation(b, nn.ReLU) for b in wide)
        self.after = nn.ModuleList(
            layers.hidden(b, depth, SMALLEST << depth) for depth, b in enumerate(wide)
        )
        kernel = layers.output_kernel(0)
        self.head = (
            Last(channels, shape[0], kernel, layers)
            if kernel
            else layers.plain().up(channels, shape[0], ConvTranspose, bias=True)
        )
        self.output = layers.output(shape)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context = context.styled(z)
        h = self.first(z[:, :, None, None])
        for depth, (norm, act, after) in enumerate(
            zip(self.norms, self.acts, self.after, strict=True)
        ):
            h = h if depth == 0 else self.ups[depth - 1](h, context)
            h = after(act(norm(h, context)))
        return cast(Tensor, self.output(self.head(h, context)))


class Discriminator(nn.Module):
    """The image is halved to 4 px, with leaky ReLUs; the first layer is not normalised."""

    def __init__(self, shape: Sequence[int], channels: int, layers: Layers) -> None:
        super().__init__()
        wide = widths(channels, doublings("dcgan", shape))
        layers = layers.starting(dcgan_normal)
        self.first = layers.down(shape[0], channels, StridedConv, bias=True)
        self.downs = nn.ModuleList(layers.down(a, b, StridedConv) for a, b in pairwise(wide))
        self.norms = nn.ModuleList(map(layers.norm, wide[1:]))
        self.acts = nn.ModuleList(layers.activation(b, leaky) for b in wide)
        self.after = nn.ModuleList(
            layers.hidden(b, depth, shape[1] >> depth + 1) for depth, b in enumerate(wide)
        )
        self.width = wide[-1]
        self.summary = layers.summary((self.width, SMALLEST, SMALLEST))
        self.head = Head(layers, lambda n: Whole(self.summary.channels, n, SMALLEST))

    def forward(self, batch: Batch) -> Output:
        context, features = batch.context, list[Tensor]()
        h = self.first(batch.image, context)
        for depth, (act, after) in enumerate(zip(self.acts, self.after, strict=True)):
            if depth:
                h = self.norms[depth - 1](self.downs[depth - 1](h, context), context)
            h = after(act(h))
            features.append(h)
        return cast(Output, self.head(self.summary(h), features))


@architectures.register(paper="radford2016", needs={"images"}, provides={"feature_maps"})
class Dcgan(Architecture):
    """Strided convolutions throughout, for square images of 8, 16, 32, 64, … px.

    ``channels`` is the width at the largest resolution; it doubles with each halving of the
    resolution, up to sixteen times as much.
    """

    def __init__(self, *, channels: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64) -> None:
        self.channels = channels

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Generator(shape, latent_size, self.channels, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return Discriminator(shape, self.channels, layers)
