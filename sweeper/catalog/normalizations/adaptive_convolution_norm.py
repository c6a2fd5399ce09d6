"""Adaptive convolution-based normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import channelwise
from sweeper.catalog.normalizations.told import style, style_of
from sweeper.game import Context, Known, Layers
from sweeper.registry import Options


@normalizations.register(paper="cho2019", needs={"feature_maps"}, facts={"on": "generator"})
class AdaptiveConvolutionNorm(nn.Module):
    """Each channel is standardised where it is, then convolved with its example's kernel.

    y_n = W(s_n) * x̂_n + b(s_n), where x̂ = (x - μ) / √(σ² + ε) has μ and σ² of each channel of each
    example over a ``window`` of so many pixels around each place, as far as it is inside; 0 is all
    of space, (H, W). W = δ + As and b = Bs are affine maps of what G is given, s (N, K); δ is the
    kernel that leaves x̂ as it is. W_n has C filters of ``kernel`` x ``kernel`` over ``mixed``
    channels each: 1 is depthwise. With a kernel of 1 and all of space, it is
    ``adaptive_instance_norm``. Takes (N, C, H, W). Raises ValueError when ``mixed`` does not divide
    C, or the window or the kernel is even.

    The abstract of the paper does not say how its filters are made; these are ours.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        layers: Layers,
        *,
        kernel: Annotated[int, Ge(1), Options((1, 3, 5))] = 3,
        mixed: Annotated[int, Ge(1), Options((1, 4))] = 1,
        window: Annotated[int, Ge(0), Options((0, 3, 5, 7))] = 0,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__()
        if channels % mixed or kernel % 2 == 0 or (window and window % 2 == 0):
            raise ValueError(
                "adaptive_convolution_norm has an odd kernel and window, and mixed divides the "
                f"channels, but got {kernel}, {window} and {mixed} of {channels}"
            )
        self.window, self.eps = window, eps
        self.shape = (channels, mixed, kernel, kernel)
        identity = torch.zeros(self.shape)
        own = torch.arange(channels)
        identity[own, own % mixed, kernel // 2, kernel // 2] = 1
        self.register_buffer("identity", identity, persistent=False)
        filters = layers.weighted(
            nn.Linear(style_of(known, "adaptive_convolution_norm"), identity.numel())
        )
        shifts = layers.weighted(nn.Linear(known.style, channels))
        self.filters, self.shifts = filters, shifts

    def forward(self, x: Tensor, context: Context) -> Tensor:
        n, channels, *space = x.shape
        s, (_, mixed, kernel, _) = style(context), self.shape
        weight = self.get_buffer("identity") + self.filters(s).reshape(n, *self.shape)
        y = conv2d(
            self.standardised(x).reshape(1, n * channels, *space),
            weight.reshape(n * channels, mixed, kernel, kernel).to(x.dtype),
            padding=kernel // 2,
            groups=n * channels // mixed,
        )
        shift: Tensor = self.shifts(s)
        return y.reshape(x.shape) + channelwise(shift, x).to(x.dtype)

    def standardised(self, x: Tensor) -> Tensor:
        """By the mean and variance around each place."""
        mean = self.around(x)
        # The mean of squares minus the square of the mean would lose digits to a large mean.
        centre = x.mean((2, 3), keepdim=True).detach()
        variance = self.around((x - centre).square()) - (mean - centre).square()
        return (x - mean) * (variance.clamp(min=0) + self.eps).rsqrt()

    def around(self, x: Tensor) -> Tensor:
        if not self.window:
            return x.mean((2, 3), keepdim=True)
        return avg_pool2d(x, self.window, 1, self.window // 2, count_include_pad=False)
