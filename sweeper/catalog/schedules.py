"""Schedules: who moves when, within one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import schedules
from sweeper.game import Move, Player, Progress, Schedule
from sweeper.registry import Integers, Options

Steps = Annotated[int, Ge(1), Integers(1, 5)]


@schedules.register(paper="goodfellow2014")
class AlternatingUpdate(Schedule):
    """One side makes its steps, then the other, which sees the first one's new weights.

    ``fresh_latents`` draws latents anew for every move; otherwise the k-th move of D and the k-th
    move of G in a round share theirs, and the fakes too while G has not moved, which saves a
    forward pass of G.
    """

    def __init__(
        self,
        *,
        d_steps: Steps = 1,
        g_steps: Annotated[int, Ge(1), Integers(1, 3)] = 1,
        first: Annotated[
            Literal["discriminator", "generator"], Options(("discriminator", "generator"))
        ] = "discriminator",
        fresh_latents: Annotated[bool, Options((False, True))] = False,
    ) -> None:
        super().__init__()
        self.fresh_latents = fresh_latents
        d, g = [frozenset({Player.D})] * d_steps, [frozenset({Player.G})] * g_steps
        self.round = [*d, *g] if first == "discriminator" else [*g, *d]

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        return self.round
