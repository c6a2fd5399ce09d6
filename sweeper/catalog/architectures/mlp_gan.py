"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from sweeper.catalog.architectures.labels import told
from sweeper.catalog.families import architectures
from sweeper.game import Batch, Context, Layers, Output
from sweeper.registry import Integers, Options


class Hidden(nn.Module):
    """A fully connected layer, its normalization, and what follows its activation."""

    def __init__(
        self, inputs: int, outputs: int, layers: Layers, depth: int, *, normalised: bool
    ) -> None:
        super().__init__()
        self.linear = layers.constrain(nn.Linear(inputs, outputs))
        self.norm = layers.norm(outputs) if normalised else None
        self.after = layers.hidden(outputs, depth)

    def forward(self, h: Tensor, context: Context, slope: float) -> Tensor:
        h = self.linear(h)
        h = h if self.norm is None else self.norm(h, context)
        activated: Tensor = self.after(leaky_relu(h, slope) if slope else relu(h))
        return activated


class Generator(nn.Module):
    """Latents through ReLU layers to an example of any shape; images end in tanh, points in a plain
    layer. G is told the label, if it is told of classes, as a one-hot beside its latents."""

    def __init__(
        self, shape: Sequence[int], latent_size: int, hidden: int, depth: int, layers: Layers
    ) -> None:
        super().__init__()
        self.shape, self.classes = tuple(shape), layers.classes
        widths = [latent_size + self.classes, *[hidden] * depth]
        self.hidden = nn.ModuleList(
            Hidden(a, b, layers, i, normalised=True) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.head = layers.constrain(nn.Linear(hidden, math.prod(shape)))

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context, h = context._replace(style=z), told(z, context.label, self.classes)
        for layer in self.hidden:
            h = layer(h, context, 0.0)
        x: Tensor = self.head(h).reshape(len(h), *self.shape)
        return x.tanh() if len(self.shape) == 3 else x


class Discriminator(nn.Module):
    """An example of any shape through leaky ReLU layers to a score; the first is not normalised."""

    def __init__(self, shape: Sequence[int], hidden: int, depth: int, layers: Layers) -> None:
        super().__init__()
        widths = [math.prod(shape), *[hidden] * depth]
        self.hidden = nn.ModuleList(
            Hidden(a, b, layers, i, normalised=i > 0) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.summary = layers.summary((hidden,))
        self.head = layers.constrain(nn.Linear(self.summary.channels, 1))
        self.classes = (
            layers.constrain(nn.Linear(self.summary.channels, layers.classes))
            if layers.classes
            else None
        )

    def forward(self, batch: Batch) -> Output:
        h, context = batch.image.flatten(1), Context(label=batch.label)
        features = []
        for layer in self.hidden:
            h = layer(h, context, 0.2)
            features.append(h)
        h = self.summary(h)
        classes = None if self.classes is None else self.classes(h)
        return Output(self.head(h).squeeze(1), tuple(features), classes)


@architectures.register(paper="goodfellow2014")
class MlpGan:
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
