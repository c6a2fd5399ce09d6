"""How networks of images begin and end, whatever is between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeper.game import Layers, Output

SMALLEST = 4
"""The side of the smallest feature maps, in pixels."""

WIDEST = 4
"""How often the width doubles at most."""


def doublings(name: str, shape: Sequence[int]) -> int:
    """How often 4 px double to the side of the image; raises ValueError unless it is a power of two
    from 8."""
    _, height, width = shape
    n = max(height, 1).bit_length() - SMALLEST.bit_length()
    if height != width or n < 1 or SMALLEST << n != height:
        raise ValueError(
            f"{name} takes square images whose side is a power of two from 8 up, "
            f"but got {height}x{width}"
        )
    return n


def widths(channels: int, n: int) -> list[int]:
    """How wide feature maps are at so many sizes, from the largest: twice as wide at half the size,
    but at most sixteen times."""
    return [channels << min(k, WIDEST) for k in range(n)]


class Spread(nn.ConvTranspose2d):
    """A transposed convolution of a single pixel, as the product of matrices that it is."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        # Channels come last in memory, so that nothing is copied where networks have them so.
        weight = self.weight.permute(0, 2, 3, 1)
        h = torch.unflatten(input.flatten(1) @ weight.flatten(1), 1, weight.shape[1:])
        return (h if self.bias is None else h + self.bias).permute(0, 3, 1, 2)

    def _get_name(self) -> str:
        return "ConvTranspose2d"


class Whole(nn.Conv2d):
    """A convolution whose kernel sees all of its input, as the product of matrices that it is."""

    def forward(self, input: Tensor) -> Tensor:
        h, weight = (t.permute(0, 2, 3, 1).flatten(1) for t in (input, self.weight))
        return functional.linear(h, weight, self.bias)[:, :, None, None]

    def _get_name(self) -> str:
        return "Conv2d"


def spread(latent_size: int, channels: int, layers: Layers, *, bias: bool = True) -> nn.Module:
    """A fully connected layer from latents (N, latent_size, 1, 1) to (N, channels, 4, 4)."""
    return layers.weighted(Spread(latent_size, channels, SMALLEST, bias=bias))


def to_image(channels: int, outputs: int, kernel: int, layers: Layers) -> nn.Module:
    """G's last convolution, from (N, channels, H, W) to (N, outputs, H, W): a plain one, whatever
    the others are."""
    return layers.weighted(nn.Conv2d(channels, outputs, kernel, padding=kernel // 2))


class Head(nn.Module):
    """From what D looks at last to its score, and to a logit for each class where it names them.

    ``last`` makes a layer to so many numbers an example.
    """

    def __init__(self, layers: Layers, last: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.score = layers.weighted(last(1))
        self.classes = layers.weighted(last(layers.classes)) if layers.classes else None

    def forward(self, h: Tensor, features: Sequence[Tensor]) -> Output:
        classes = None if self.classes is None else self.classes(h).flatten(1)
        return Output(self.score(h).flatten(), tuple(features), classes)
