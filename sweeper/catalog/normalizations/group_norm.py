"""Group normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.game import Context
from sweeper.registry import Options


@normalizations.register(paper="wu2018")
class GroupNorm(nn.GroupNorm):
    """Each group of channels of each example is standardised over its channels and space.

    y = γ (x - μ) / √(σ² + ε) + β, where μ and σ² are those of each example over the C / ``groups``
    channels of a group and H, W, and γ and β those of each channel. Takes (N, C, ...). Raises
    ValueError when ``groups`` does not divide the channels of some layer.
    """

    def __init__(
        self,
        channels: int,
        *,
        groups: Annotated[int, Ge(1), Options((1, 2, 4, 8, 16, 32))] = 4,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        if channels % groups:
            raise ValueError(
                f"groups must divide the channels, but {groups} does not divide {channels}"
            )
        super().__init__(groups, channels, eps=eps)

    def forward(self, x: Tensor, context: Context) -> Tensor:  # type: ignore[override]
        return super().forward(x)
