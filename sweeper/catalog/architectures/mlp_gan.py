"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, cast

from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.architectures.ends import Head
from sweeper.catalog.families import architectures
from sweeper.game import Architecture, Batch, Context, Layers, Output
from sweeper.registry import Integers, Options


class Hidden(nn.Module):
    """A fully connected layer, its normalization and activation, and what follows it."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        depth: int,
        own: Callable[[], nn.Module],
        *,
        normalised: bool,
    ) -> None:
        super().__init__()
        self.linear = layers.weighted(nn.Linear(inputs, outputs))
        self.norm = layers.norm(outputs) if normalised else None
        self.act = layers.activation(outputs, own)
        self.after = layers.hidden(outputs, depth)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        h = self.linear(h)
        h = h if self.norm is None else self.norm(h, context)
        return cast(Tensor, self.after(self.act(h)))


class Generator(nn.Module):
    """Latents through ReLU layers to an example of any shape, in the range of real ones."""

    def __init__(
        self, shape: Sequence[int], latent_size: int, hidden: int, depth: int, layers: Layers
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        widths = [latent_size, *[hidden] * depth]
        self.hidden = nn.ModuleList(
            Hidden(a, b, layers, i, nn.ReLU, normalised=True)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.head = layers.weighted(nn.Linear(hidden, math.prod(shape)))
        self.output = layers.output(shape)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context, h = context.styled(z), z
        for layer in self.hidden:
            h = layer(h, context)
        return cast(Tensor, self.output(self.head(h).reshape(h.shape[0], *self.shape)))


class Discriminator(nn.Module):
    """An example of any shape through leaky ReLU layers to a score; the first is not normalised."""

    def __init__(self, shape: Sequence[int], hidden: int, depth: int, layers: Layers) -> None:
        super().__init__()
        widths = [math.prod(shape), *[hidden] * depth]
        leaky = partial(nn.LeakyReLU, 0.2)
        self.hidden = nn.ModuleList(
            Hidden(a, b, layers, i, leaky, normalised=i > 0)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.width = hidden
        self.summary = layers.summary((hidden,))
        self.head = Head(layers, lambda n: nn.Linear(self.summary.channels, n))

    def forward(self, batch: Batch) -> Output:
        h, context = batch.image.flatten(1), batch.context
        features = []
        for layer in self.hidden:
            h = layer(h, context)
            features.append(h)
        return cast(Output, self.head(self.summary(h), features))


@architectures.register(paper="goodfellow2014")
class MlpGan(Architecture):
    """Fully connected networks, for points and very small images."""

    def __init__(
        self,
        *,
        hidden: Annotated[int, Ge(1), Options((64, 128, 256, 512))] = 128,
        depth: Annotated[int, Ge(1), Integers(2, 4)] = 2,
    ) -> None:
        self.hidden, self.depth = hidden, depth

    def generator(self, shape: Sequence[int], latent_size: int, layers: Layers) -> nn.Module:
        return Generator(shape, latent_size, self.hidden, self.depth, layers)

    def discriminator(self, shape: Sequence[int], layers: Layers) -> nn.Module:
        return Discriminator(shape, self.hidden, self.depth, layers)
