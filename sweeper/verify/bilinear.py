"""The bilinear game: D scores x by wx, G puts its fakes at θ, and real examples lie at 0.

Under Wasserstein losses D descends wθ and G -wθ: their gradients are θ and -w, and plain steps of
both at once lead away from the equilibrium at 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from sweeper.catalog.families import optimizers, tricks
from sweeper.game import Player, Progress, Streams
from sweeper.trial.step import play_round
from sweeper.verify.toys import Linear, Point, game, origin

Knobs = Mapping[str, Any]


class Bilinear:
    """The game from (w, θ), with an optimizer for both players and some tricks."""

    def __init__(
        self,
        optimizer: str,
        knobs: Knobs,
        used: Mapping[str, Knobs] | None = None,
        *,
        schedule: str = "simultaneous_update",
        start: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.d, self.g = Linear([start[0]]), Point([start[1]])
        made = {name: tricks[name].make(**own) for name, own in (used or {}).items()}
        plain = game(self.d, self.g, lr=1.0, schedule=schedule, tricks=made)
        entry = optimizers[optimizer]
        self.gan = replace(
            plain,
            optimizers={p: entry.make(plain.of(p)[0].named_parameters(), **knobs) for p in Player},
        )
        self.progress = Progress(Streams(0), horizon=1000)
        self.seen: dict[str, Tensor] = {}

    def play(self, rounds: int = 1) -> tuple[float, float]:
        """Where w and θ are after some rounds."""
        for _ in range(rounds):
            self.seen = play_round(self.gan, origin, self.progress, self.seen)
        return self.d.weight.item(), self.g.place.item()

    def pace(self, *, after: int = 0, over: int = 30) -> float:
        """By what factor a round changes the distance from the equilibrium, in the mean of some
        rounds after others."""
        before = math.hypot(*self.play(after))
        return float((math.hypot(*self.play(over)) / before) ** (1 / over))
