"""The networks of the paper on spectral normalization."""

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

leaky = partial(nn.LeakyReLU, 0.1)


class Generator(nn.Module):
    """Latents to 4 px, then doubled, normalised and rectified to the size of the image, and a
    convolution to its channels."""

    def __init__(
        self, shape: Sequence[int], latent_size: int, channels: int, layers: Layers
    ) -> None:
        super().__init__()
        wide = widths(channels, doublings("sndcgan", shape) + 1)[::-1]
        layers = layers.starting(dcgan_normal)
        self.first = spread(latent_size, wide[0], layers)
        self.ups = nn.ModuleList(layers.up(a, b, ConvTranspose) for a, b in pairwise(wide))
        self.norms = nn.ModuleList(map(layers.norm, wide))
        self.acts = nn.ModuleList(layers.activation(b, nn.ReLU) for b in wide)
        self.after = nn.ModuleList(
            layers.hidden(b, depth, SMALLEST << depth) for depth, b in enumerate(wide)
        )
        self.last = to_image(channels, shape[0], layers.output_kernel(3), layers)
        self.output = layers.output(shape)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context = context.styled(z)
        h = self.first(z[:, :, None, None])
        for depth, (norm, act, after) in enumerate(
            zip(self.norms, self.acts, self.after, strict=True)
        ):
            h = h if depth == 0 else self.ups[depth - 1](h, context)
            h = after(act(norm(h, context)))
        return cast(Tensor, self.output(self.last(h)))


class Discriminator(nn.Module):
    """At each size a convolution that keeps it and one that halves it, and at 4 px a last one, with
    leaky ReLUs; the first layer is not normalised."""

    def __init__(self, shape: Sequence[int], channels: int, layers: Layers) -> None:
        super().__init__()
        wide = widths(channels, doublings("sndcgan", shape) + 1)
        layers = layers.starting(dcgan_normal)
        self.convs = nn.ModuleList(layers.conv(a, b) for a, b in pairwise([shape[0], *wide]))
        self.downs = nn.ModuleList(layers.down(b, b, StridedConv, bias=True) for b in wide[:-1])
        found = [b for b in wide for _ in range(2)][:-1]
        self.norms = nn.ModuleList(map(layers.norm, found[1:]))
        self.acts = nn.ModuleList(layers.activation(b, leaky) for b in found)
        self.after = nn.ModuleList(
            layers.hidden(b, depth, shape[1] >> (depth + 1) // 2) for depth, b in enumerate(found)
        )
        self.width = wide[-1]
        self.summary = layers.summary((self.width, SMALLEST, SMALLEST))
        self.head = Head(layers, lambda n: Whole(self.summary.channels, n, SMALLEST))

    def forward(self, batch: Batch) -> Output:
        context, features, h = batch.context, list[Tensor](), batch.image
        for depth, (act, after) in enumerate(zip(self.acts, self.after, strict=True)):
            layer = self.downs[depth // 2] if depth % 2 else self.convs[depth // 2]
            h = layer(h, context)
            h = self.norms[depth - 1](h, context) if depth else h
            h = after(act(h))
            features.append(h)
        return cast(Output, self.head(self.summary(h), features))


@architectures.register(
    paper="miyato2018", needs={"images"}, provides={"feature_maps", "convolutions"}
)
class Sndcgan(Architecture):
    """The stack of convolutions with which spectral normalization was shown.

    For square images of 8, 16, 32, 64, … px. G doubles 4 px to the size of the image by transposed
    convolutions of 4 x 4, and ends in a convolution of 3 x 3. D has, at each size from that of the
    image down to 8 px, a convolution of 3 x 3 and one of 4 x 4 that halves it, and at 4 px one more
    of 3 x 3; its ReLUs leak 0.1. ``channels`` is the width at the largest size; it doubles with
    each halving of the size, up to sixteen times as much.
    """

    def __init__(self, *, channels: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64) -> None:
        self.channels = channels

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Generator(shape, latent_size, self.channels, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return Discriminator(shape, self.channels, layers)
