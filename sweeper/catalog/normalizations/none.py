"""No normalization."""

from __future__ import annotations

from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.game import Context


@normalizations.register("none")
class NoNorm(nn.Module):
    """Activations are left as they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return x
