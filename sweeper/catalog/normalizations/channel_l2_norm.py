"""Division by the length over channels."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import full
from sweeper.game import Context
from sweeper.registry import Options

LEAST = 1e-6
"""The least length that is divided by."""


def length(h: Tensor, degree: int) -> Tensor:
    """(Σ_c |x|^p)^{1/p} of activations (N, C, ...) at each place, but no less than the least: (N,
    1, ...). Where it is less, it has no slope, nor a slope of a slope."""
    if degree == 1:
        return h.abs().sum(1, keepdim=True).clamp(min=LEAST)
    return h.square().sum(1, keepdim=True).clamp(min=LEAST**2).sqrt()


@normalizations.register(paper="ilg2017")
class ChannelL2Norm(nn.Module):
    """At each place of each example, the channels are divided by their length.

    y = x / max((Σ_c |x|^p)^{1/p}, 1e-6) over C, with p = ``norm_deg``. There are no parameters.
    The length of y is 1 wherever that of x is at least 1e-6. Takes (N, C, ...).

    The paper hands the length on as a feature map; appending it as one more channel would change
    how many there are, which no normalization may do here.
    """

    def __init__(
        self,
        channels: int,
        *,
        norm_deg: Annotated[Literal[1, 2], Options((1, 2))] = 2,
    ) -> None:
        super().__init__()
        self.norm_deg = norm_deg

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = full(x)
        return (h / length(h, self.norm_deg)).to(x.dtype)
