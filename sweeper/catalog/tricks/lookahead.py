"""Lookahead for both players: slow weights that fast ones are pulled back to."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn

from sweeper.catalog.families import tricks
from sweeper.game import Networks, Player, Progress, Trick
from sweeper.registry import Options, Uniform


@tricks.register(paper="chavdarova2021", facts={"stage": 80})
class Lookahead(Trick):
    """Now and then, both players go back a part of the way that they came, together.

    Whenever each player has made another ``k`` moves: slow ← slow + α(fast - slow), fast ← slow,
    for the weights of D and G at once (Lookahead-minmax; Zhang et al. 2019 for one network), where
    fast weights are those that the optimizers step. If one moves more often, the other's moves are
    counted. Optimizers keep their moments, and statistics stay those of the fast weights.
    """

    def __init__(
        self,
        *,
        k: Annotated[int, Ge(1), Options((5, 50, 500))] = 5,
        alpha: Annotated[float, Gt(0), Lt(1), Uniform(0.2, 0.8)] = 0.5,
    ) -> None:
        super().__init__()
        self.k, self.alpha = k, alpha
        self.slow = nn.ParameterList()

    def setup(self, networks: Networks, batch: object) -> None:
        for fast in both(networks):
            self.slow.append(nn.Parameter(fast.detach().clone(), requires_grad=False))

    @torch.no_grad()
    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        now = min(progress.moves.values())
        before = min(n - (who is player) for who, n in progress.moves.items())
        if now // self.k == before // self.k:
            return
        slow, fast = list(self.slow), both(networks)
        torch._foreach_lerp_(slow, fast, self.alpha)
        torch._foreach_copy_(fast, slow)


def both(networks: Networks) -> list[torch.Tensor]:
    """The weights of both players, in one order."""
    return [p for pair in networks.values() for network in pair for p in network.parameters()]
