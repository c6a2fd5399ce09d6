"""Pixelwise normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import full
from sweeper.game import Context
from sweeper.registry import Options


@normalizations.register(paper="karras2018")
class PixelNorm(nn.Module):
    """At each place of each example, the channels are divided by their root mean square.

    y = x / √(mean_c x² + ε), the mean being over C. There are no parameters. Takes (N, C, ...).

    The paper has it in G alone, and of the latents, too: ``spherical_latent`` draws them so.
    """

    def __init__(
        self, channels: int, *, eps: Annotated[float, Gt(0), Options((1e-8, 1e-5))] = 1e-8
    ) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        return (h * (h.square().mean(1, keepdim=True) + self.eps).rsqrt()).to(x.dtype)
