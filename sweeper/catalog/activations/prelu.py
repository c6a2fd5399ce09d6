"""The rectified linear unit whose slope is learnt."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from sweeper.catalog.families import activations
from sweeper.registry import Options, Uniform


@activations.register("prelu", paper="he2015")
class Prelu(nn.PReLU):
    """max(0, x) + a min(0, x), with a slope a that is learnt: one for each channel, or one for all.

    Takes (N, C, ...). The slopes start at ``slope``; weight decay and weight clipping, which would
    make it a ReLU, leave them alone.
    """

    def __init__(
        self,
        channels: int,
        *,
        slope: Annotated[float, Uniform(0.1, 0.3)] = 0.25,
        per_channel: Annotated[bool, Options((False, True))] = True,
    ) -> None:
        super().__init__(channels if per_channel else 1, init=slope)


def slopes(network: nn.Module) -> set[nn.Parameter]:
    """The slopes that a network learns."""
    return {p for m in network.modules() if isinstance(m, nn.PReLU) for p in m.parameters()}
