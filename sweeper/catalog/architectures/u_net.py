"""Networks from images to images: what they are given, halved step by step, and doubled again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from sweeper.catalog.downsampling.strided_conv import StridedConv
from sweeper.catalog.initializations import dcgan_normal
from sweeper.catalog.tricks.generator_dropout import Dropout
from sweeper.catalog.upsampling.conv_transpose import ConvTranspose
from sweeper.game import Context, Known, Layers

WIDEST = 8
"""So many times as wide as the first layer is the widest."""
DROPPED = 3
"""So many blocks of a decoder drop activations, from the innermost on."""


def given_channels(name: str, known: Known) -> int:
    """The channels of what G makes images from; raises ValueError where the data has no such
    images."""
    if channels := known.source + known.mask:
        return channels
    raise ValueError(f"{name} makes images from others, and the data has neither sources nor masks")


def given(context: Context) -> Tensor:
    """What G makes images from, (N, C, H, W): sources and masks, one behind the other."""
    held = [x for x in (context.source, context.mask) if x is not None]
    if not held:
        raise ValueError("G makes images from others, and was told neither a source nor a mask")
    return torch.cat(held, dim=1)


def halvings(name: str, shape: Sequence[int]) -> int:
    """How often both sides of an image are halved before one is odd; raises ValueError unless it is
    twice at least."""
    _, height, width = shape
    n = ((height | width) & -(height | width)).bit_length() - 1
    if n < 2:
        raise ValueError(
            f"{name} takes images whose sides are multiples of 4, but got {height}x{width}"
        )
    return n


class Block(nn.Module):
    """A convolution that keeps the size, normalised and rectified; one pixel is never normalised.

    ``drop`` is the probability with which an activation is dropped, in evaluation too.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        depth: int,
        size: int,
        layers: Layers,
        act: Callable[[], nn.Module],
        *,
        kernel: int = 3,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv = layers.conv(inputs, outputs, kernel)
        self.norm = layers.norm(outputs) if size > 1 else None
        self.drop = Dropout(drop, at_test=True) if drop else nn.Identity()
        self.act = layers.activation(outputs, act)
        self.after = layers.hidden(outputs, depth, size)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        h = self.conv(h, context)
        h = h if self.norm is None else self.norm(h, context)
        return cast(Tensor, self.after(self.act(self.drop(h))))


class Encoder(nn.Module):
    """Images to activations of every size, the largest first: ``widths`` channels each."""

    def __init__(
        self, inputs: int, widths: Sequence[int], size: int, layers: Layers, depth: int = 0
    ) -> None:
        super().__init__()
        self.first = Block(inputs, widths[0], depth, size, layers, nn.ReLU)
        self.downs = nn.ModuleList(
            layers.down(a, b, StridedConv, bias=True) for a, b in pairwise(widths)
        )
        self.blocks = nn.ModuleList(
            Block(b, b, depth + k, size >> k, layers, nn.ReLU)
            for k, b in enumerate(widths[1:], start=1)
        )

    def forward(self, x: Tensor, context: Context) -> list[Tensor]:
        found = [self.first(x, context)]
        for down, block in zip(self.downs, self.blocks, strict=True):
            found.append(block(down(found[-1], context), context))
        return found


class Decoder(nn.Module):
    """The smallest activations, doubled step by step to an image, with ``shortcuts`` so wide from
    activations of every size; both widths and shortcuts are told with the largest first."""

    def __init__(
        self,
        widths: Sequence[int],
        shortcuts: Sequence[int],
        shape: Sequence[int],
        layers: Layers,
        *,
        depth: int,
        dropout: float,
    ) -> None:
        super().__init__()
        size, inwards = min(shape[1:]), [*pairwise(widths)][::-1]
        self.ups = nn.ModuleList(layers.up(b, a, ConvTranspose, bias=True) for a, b in inwards)
        self.blocks = nn.ModuleList(
            Block(
                a + shortcuts[-2 - k],
                a,
                depth + k,
                size >> len(inwards) - 1 - k,
                layers,
                nn.ReLU,
                drop=dropout if k < DROPPED else 0.0,
            )
            for k, (a, _) in enumerate(inwards)
        )
        kernel = layers.output_kernel(3)
        self.last = layers.weighted(
            nn.Conv2d(widths[0], shape[0], kernel, padding=kernel // 2),
        )
        self.output = layers.output(shape)

    def forward(self, h: Tensor, shortcuts: Sequence[Tensor | None], context: Context) -> Tensor:
        for up, block, beside in zip(self.ups, self.blocks, shortcuts[-2::-1], strict=True):
            h = up(h, context)
            h = block(h if beside is None else torch.cat([h, beside], dim=1), context)
        return cast(Tensor, self.output(self.last(h)))


def widths_of(channels: int, halvings: int) -> list[int]:
    """The channels of every size, the largest first: twice as many at half the size, to a limit."""
    return [channels * min(1 << k, WIDEST) for k in range(halvings + 1)]


class UNet(nn.Module):
    """What G is given, encoded and decoded, with shortcuts between activations of one size.

    The latents stand beside the smallest activations, or are not read.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        latent_size: int,
        channels: int,
        layers: Layers,
        *,
        skip: bool = True,
        dropout: float = 0.0,
        latents: bool = False,
    ) -> None:
        super().__init__()
        layers = layers.starting(dcgan_normal)
        widths = widths_of(channels, halvings(name, shape))
        inputs, size = given_channels(name, layers.known), min(shape[1:])
        self.skip, self.latents = skip, latents
        self.encoder = Encoder(inputs, widths, size, layers)
        inner = [*widths[:-1], widths[-1] + latents * latent_size]
        shortcuts = widths if skip else [0] * len(widths)
        self.decoder = Decoder(inner, shortcuts, shape, layers, depth=len(widths), dropout=dropout)

    def forward(self, z: Tensor, context: Context) -> Tensor:
        context = context.styled(z)
        found = self.encoder(given(context), context)
        h = found[-1]
        if self.latents:
            h = torch.cat([h, z[:, :, None, None].expand(-1, -1, *h.shape[2:])], dim=1)
        shortcuts = found if self.skip else [None] * len(found)
        return cast(Tensor, self.decoder(h, shortcuts, context))
