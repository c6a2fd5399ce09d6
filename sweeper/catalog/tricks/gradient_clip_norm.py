"""Clipping gradients by norm."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from annotated_types import Gt
from torch.nn.utils import clip_grad_norm_

from sweeper.catalog.families import tricks
from sweeper.game import Networks, Player, Progress, Trick
from sweeper.registry import LogUniform, Options


@tricks.register(paper="pascanu2013", facts={"stage": 75})
class GradientClipNorm(Trick):
    """A player's gradient is scaled down, as a whole, to a norm of at most ``max_norm``.

    g ← g · min(1, c / (‖g‖ + 10⁻⁶)) with c = ``max_norm``, after backward and before the step; the
    ``norm``, Euclidean or maximum, is over all the player's weights together. What is reported as a
    player's gradient is that before.
    """

    def __init__(
        self,
        *,
        max_norm: Annotated[float, Gt(0), LogUniform(0.01, 100)] = 0.1,
        norm: Annotated[Literal[2, "inf"], Options((2, "inf"))] = 2,
        on: Annotated[
            Literal["discriminator", "generator", "both"],
            Options(("discriminator", "generator", "both")),
        ] = "both",
    ) -> None:
        super().__init__()
        self.max_norm, self.on = max_norm, on
        self.norm = math.inf if norm == "inf" else float(norm)

    def gradients(self, player: Player, networks: Networks, progress: Progress) -> None:
        if self.on in (player, "both"):
            weights = [p for pair in networks.values() for p in pair.of(player).parameters()]
            clip_grad_norm_(weights, self.max_norm, self.norm)
