"""Historical averaging."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.memory import Memory, trainable
from sweeper.game import Batch, Networks, Player, Progress, Regularizer, Turn
from sweeper.registry import Law, LogUniform, Options

SIDES = ("discriminator", "generator", "both")


@regularizers.register(
    paper="salimans2016",
    warns=(
        Law(
            "averaged",
            "two averages of weights: this one changes training, the other what is evaluated",
            when="on != discriminator",
        ),
        Law(
            "second_order",
            "of the steps that G looks ahead to, all but the first are taken without it",
            when="on != generator",
        ),
    ),
)
class HistoricalAveraging(Regularizer):
    """A player is pulled to the mean of all weights it ever had, so that it settles down.

    weight · ‖θ - (1/t) Σ_{i≤t} θ[i]‖², over all trained parameters of each player it is ``on``.
    θ[1] are the initial weights; after each step the mean m goes on to m + (θ - m)/t. The paper
    gives no weight.
    """

    def __init__(
        self,
        *,
        weight: Annotated[float, Gt(0), LogUniform(1e-5, 1.0)] = 0.01,
        on: Annotated[Literal["discriminator", "generator", "both"], Options(SIDES)] = "both",
    ) -> None:
        super().__init__()
        self.weight, self.on = weight, on

    def setup(self, networks: Networks, batch: Batch) -> None:
        self.means = Memory(
            networks, self.on, lambda network: [p.detach().clone() for p in trainable(network)]
        )

    def forward(self, turn: Turn) -> Tensor:
        now = trainable(turn.networks.of(turn.player))
        means = self.means.of(turn.pair, turn.player)
        away = [(p - m).square().sum() for p, m in zip(now, means, strict=True)]
        return self.weight * torch.stack(away).sum()

    @torch.no_grad()
    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        if self.on not in (player, "both"):
            return
        t = progress.moves[player] + 1
        for name, pair in networks.items():
            now = list[Tensor](trainable(pair.of(player)))
            torch._foreach_lerp_(self.means.of(name, player), now, 1 / t)
