"""Clipping gradients by value."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from torch.nn.utils import clip_grad_value_

from sweeper.catalog.families import tricks
from sweeper.game import Networks, Player, Progress, Trick
from sweeper.registry import LogUniform, Options


@tricks.register(paper="mikolov2012", facts={"stage": 75})
class GradientClipValue(Trick):
    """No entry of a player's gradient is larger than ``value``, whichever its sign.

    gᵢ ← min(max(gᵢ, -c), c) with c = ``value``, after backward and before the step, which changes
    the gradient's direction too. What is reported as a player's gradient is that before.
    """

    def __init__(
        self,
        *,
        value: Annotated[float, Gt(0), LogUniform(0.001, 10)] = 0.01,
        on: Annotated[
            Literal["discriminator", "generator", "both"],
            Options(("discriminator", "generator", "both")),
        ] = "both",
    ) -> None:
        super().__init__()
        self.value, self.on = value, on

    def gradients(self, player: Player, networks: Networks, progress: Progress) -> None:
        if self.on in (player, "both"):
            weights = [p for pair in networks.values() for p in pair.of(player).parameters()]
            clip_grad_value_(weights, self.value)
