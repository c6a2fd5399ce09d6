"""The DCGAN networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from sweeper.catalog.architectures.labels import told
from sweeper.catalog.families import architectures
from sweeper.game import Batch, Context, Layers, Output
from sweeper.registry import Options

SMALLEST = 4


def doublings(shape: Sequence[int]) -> int:
    """How often 4 px double to the side of the image; raises ValueError unless it is a power of two
    from 8."""
    _, height, width = shape
    n = max(height, 1).bit_length() - SMALLEST.bit_length()
    if height != width or n < 1 or SMALLEST << n != height:
        raise ValueError(
            "dcgan takes square images whose side is a power of two from 8 up, "
            f"but got {height}x{width}"
        )
    return n


@torch.no_grad()
def gaussian(layer: nn.Module) -> nn.Module:
    """Weights from N(0, 0.02), the bias zero; done before a constraint reparametrises them."""
    for name, parameter in layer.named_parameters():
        if parameter.is_meta:  # a probe, which has nothing to draw and should not wait for it
            continue
        if name == "bias":
            parameter.zero_()
        else:
            parameter.normal_(0.0, 0.02)
    return layer


@torch.no_grad()
def near_one(norm: nn.Module) -> nn.Module:
    """The scale of a normalization from N(1, 0.02)."""
    scale = getattr(norm, "weight", None)
    if isinstance(scale, nn.Parameter) and not scale.is_meta:
        scale.normal_(1.0, 0.02)
    return norm


class Generator(nn.Module):
    """Latents to 4 px, then doubled by transposed convolutions, normalised and rectified, to an
    image in [-1, 1]. G is told the label, if it is told of classes, as a one-hot beside its
    latents."""

    def __init__(
        self, shape: Sequence[int], latent_size: int, channels: int, layers: Layers
    ) -> None:
        super().__init__()
        widths = [channels << k for k in reversed(range(doublings(shape)))]
        self.classes = layers.classes
        self.first = layers.constrain(
            gaussian(
                nn.ConvTranspose2d(latent_size + self.classes, widths[0], SMALLEST, bias=False)
            )
        )
        self.first_norm = near_one(layers.norm(widths[0]))
        self.ups = nn.ModuleList(
            layers.constrain(gaussian(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)))
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(near_one(layers.norm(b)) for b in widths[1:])
        self.after = nn.ModuleList(layers.hidden(b, depth) for depth, b in enumerate(widths))
        self.head = layers.constrain(gaussian(nn.ConvTranspose2d(channels, shape[0], 4, 2, 1)))

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context = context._replace(style=z)
        z = told(z, context.label, self.classes)
        h = relu(self.first_norm(self.first(z[:, :, None, None]), context))
        for before, up, norm in zip(self.after, self.ups, self.norms, strict=False):
            h = relu(norm(up(before(h)), context))
        return torch.tanh(self.head(self.after[-1](h)))


class Discriminator(nn.Module):
    """Strided convolutions halve the image to 4 px, with leaky ReLUs; the first layer is not
    normalised."""

    def __init__(self, shape: Sequence[int], channels: int, layers: Layers) -> None:
        super().__init__()
        widths = [channels << k for k in range(doublings(shape))]
        self.first = layers.constrain(gaussian(nn.Conv2d(shape[0], channels, 4, 2, 1)))
        self.downs = nn.ModuleList(
            layers.constrain(gaussian(nn.Conv2d(a, b, 4, 2, 1, bias=False)))
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(near_one(layers.norm(b)) for b in widths[1:])
        self.after = nn.ModuleList(layers.hidden(b, depth) for depth, b in enumerate(widths))
        self.summary = layers.summary((widths[-1], SMALLEST, SMALLEST))
        self.head = layers.constrain(gaussian(nn.Conv2d(self.summary.channels, 1, SMALLEST)))
        self.classes = (
            layers.constrain(gaussian(nn.Conv2d(self.summary.channels, layers.classes, SMALLEST)))
            if layers.classes
            else None
        )

    def forward(self, batch: Batch) -> Output:
        context = Context(label=batch.label)
        after = iter(self.after)
        h = next(after)(leaky_relu(self.first(batch.image), 0.2))
        features = [h]
        for down, norm in zip(self.downs, self.norms, strict=True):
            h = next(after)(leaky_relu(norm(down(h), context), 0.2))
            features.append(h)
        h = self.summary(h)
        classes = None if self.classes is None else self.classes(h).flatten(1)
        return Output(self.head(h).flatten(), tuple(features), classes)


@architectures.register(paper="radford2016", needs={"images"}, provides={"feature_maps"})
class Dcgan:
    """Strided convolutions throughout, for square images of 8, 16, 32, 64, … px.

    ``channels`` is the width at the largest resolution; it doubles with each halving of the
    resolution.
    """

    def __init__(self, *, channels: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64) -> None:
        self.channels = channels

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Generator(shape, latent_size, self.channels, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return Discriminator(shape, self.channels, layers)
