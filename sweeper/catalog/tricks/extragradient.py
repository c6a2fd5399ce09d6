"""Extragradient."""

from __future__ import annotations

from sweeper.catalog.families import tricks
from sweeper.game import Lookahead, Move, Player, Progress, Trick
from sweeper.registry import Law

ONE_LOOK = Law("lookahead", "a move takes its gradients in one place")
ONE_PASS = Law("shared_forward", "looking ahead takes passes of its own through D")


@tricks.register(
    paper="gidel2019",
    provides={"lookahead"},
    conflicts={ONE_LOOK, ONE_PASS},
    facts={"stage": 75},
)
class Extragradient(Trick):
    """Every move takes its gradient where a step of both players would lead, then moves from here.

    ω' = ω - lr · F(ω), ω ← ω - lr · F(ω') (Korpelevich 1976), F being the gradients of both
    players' losses at ω = (θ_D, θ_G). Each - stands for a step of the players' optimizers, with
    what corrects gradients and constrains weights; the look ahead is undone, the optimizers'
    moments included. Both places see the same examples and latents. Takes three passes for one.
    """

    def lookahead(self, move: Move, progress: Progress) -> Lookahead:
        return Lookahead((frozenset(Player),))
