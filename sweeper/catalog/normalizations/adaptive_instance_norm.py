"""Adaptive instance normalization."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from annotated_types import Gt
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.instance_norm import InstanceNorm
from sweeper.catalog.normalizations.told import Mapped, affine, style, style_of
from sweeper.game import Context, Known, Layers
from sweeper.registry import Law, Options


class Moments(nn.Module):
    """The deviation and mean over space of the channels of a convolution of a reference image,
    (N, R, H, W) to (N, C) each."""

    def __init__(self, reference: int, channels: int, eps: float, layers: Layers) -> None:
        super().__init__()
        self.eps = eps
        self.conv = layers.weighted(nn.Conv2d(reference, channels, 3, padding=1))

    def forward(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(self.conv(reference), (2, 3), correction=0)
        return (variance + self.eps).sqrt(), mean


@normalizations.register(
    paper="huang2017",
    needs={"feature_maps"},
    provides={"no_third_derivative"},
    facts={"on": "generator", "told": (Law("reference", when="mode == feature"),)},
)
class AdaptiveInstanceNorm(InstanceNorm):
    """Instance normalization whose scale and shift are those of a style.

    y = σ(s) · (x - μ(x)) / √(σ²(x) + ε) + μ(s), with μ(x) and σ²(x) of each channel of each example
    over space, (H, W). Takes (N, C, H, W) of more than one pixel.

    In the mode ``latent``, as in StyleGAN, σ(s) = 1 + As and μ(s) = Bs + b, where s is what G is
    given, (N, K): its latents, and what stands beside them, such as the embedding of a class. In
    the mode ``feature``, they are deviation and mean over space of the C channels of a 3x3
    convolution of a reference image, learnt with the layer; the paper takes a fixed encoder's.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        layers: Layers,
        *,
        mode: Annotated[Literal["latent", "feature"], Options(("latent", "feature"))] = "latent",
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels, eps=eps)
        self.latent = mode == "latent"
        self.rows = (
            Mapped(style_of(known, "adaptive_instance_norm"), channels, layers)
            if self.latent
            else Moments(known.reference, channels, eps, layers)
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        told = style(context) if self.latent else cast(Tensor, context.reference)
        return affine(super().forward(x, context), *self.rows(told)).to(x.dtype)
