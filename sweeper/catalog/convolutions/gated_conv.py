"""Gated convolution."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu

from sweeper.catalog.families import convolutions
from sweeper.game import Context, Layers
from sweeper.registry import Options


@convolutions.register(paper="yu2019", needs={"convolutions"})
class GatedConv(nn.Module):
    """A convolution whose output is let through, pixel by pixel and channel by channel, by another.

    y = φ(W_f * x + b_f) ⊙ σ(W_g * x + b_g), where φ is the ``act``: an ELU, or a leaky ReLU of
    slope 0.2. (N, inputs, H, W) to (N, outputs, H, W), with twice the weights of a convolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        layers: Layers,
        bias: bool = True,
        *,
        act: Annotated[Literal["elu", "leaky_relu"], Options(("elu", "leaky_relu"))] = "elu",
    ) -> None:
        super().__init__()
        self.act = act
        self.feature, self.gate = (
            layers.weighted(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=biased))
            for biased in (bias, True)
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        f: Tensor = self.feature(x)
        g: Tensor = self.gate(x)
        return (elu(f) if self.act == "elu" else leaky_relu(f, 0.2)) * g.sigmoid()
