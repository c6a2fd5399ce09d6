"""A convolution, of which windows are then pooled."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, max_pool2d

from sweeper.catalog.families import downsampling
from sweeper.game import Context, Layers
from sweeper.registry import Law, Options

Kernel = Annotated[Literal[3, 5], Options((3, 5))]
Window = Annotated[Literal[2, 3], Options((2, 3))]


class Pooling(nn.Module):
    """A convolution of the trial's kind, then something that halves the size."""

    def __init__(self, inputs: int, outputs: int, layers: Layers, bias: bool, kernel: int) -> None:
        super().__init__()
        self.conv = layers.conv(inputs, outputs, kernel, bias=bias)

    def pool(self, h: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.pool(cast(Tensor, self.conv(x, context)))


class Windowed(Pooling):
    """A pooling over windows of a size that is searched."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        layers: Layers,
        bias: bool = False,
        *,
        kernel: Kernel = 3,
        window: Window = 2,
    ) -> None:
        super().__init__(inputs, outputs, layers, bias, kernel)
        self.window = window


@downsampling.register(paper="radford2016", provides={"convolutions"})
class AvgPool(Windowed):
    """A convolution, then the mean of every ``window`` of 2x2 or 3x3 px.

    (N, inputs, H, W) to (N, outputs, H/2, W/2). Windows of 3 overlap, and at the rim only pixels
    within the image count, so that a constant stays one.
    """

    def pool(self, h: Tensor) -> Tensor:
        return avg_pool2d(h, self.window, 2, self.window // 3, count_include_pad=False)


@downsampling.register(
    paper="radford2016",
    provides={"convolutions"},
    warns={
        Law("feature_maps", "but for the largest of each window, no activation has a gradient"),
    },
)
class MaxPool(Windowed):
    """A convolution, then the largest of every ``window`` of 2x2 or 3x3 px.

    (N, inputs, H, W) to (N, outputs, H/2, W/2). Only the largest has a gradient: those that G
    learns from are sparse, which is why averages or strides are recommended in D.
    """

    def pool(self, h: Tensor) -> Tensor:
        return max_pool2d(h, self.window, 2, self.window // 3)


@downsampling.register(provides={"convolutions"})
class AdaptiveAvgPool(Pooling):
    """A convolution, then means over windows that share the image out among half as many pixels.

    (N, inputs, H, W) to (N, outputs, ⌈H/2⌉, ⌈W/2⌉): where a side is odd, windows differ in size
    and overlap; where it is even, this is the mean of 2x2 px.
    """

    def __init__(
        self, inputs: int, outputs: int, layers: Layers, bias: bool = False, *, kernel: Kernel = 3
    ) -> None:
        super().__init__(inputs, outputs, layers, bias, kernel)

    def pool(self, h: Tensor) -> Tensor:
        height, width = h.shape[-2:]
        return adaptive_avg_pool2d(h, ((height + 1) // 2, (width + 1) // 2))
