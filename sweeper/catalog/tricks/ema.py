"""Exponential moving average of the generator."""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn

from sweeper.catalog.families import tricks
from sweeper.game import Networks, Player, Progress, Trick
from sweeper.registry import LogUniform


@tricks.register(paper="yazici2019", facts={"stage": 90})
class Ema(Trick):
    """The generator that is evaluated is an exponential moving average of the trained one.

    θ̄ ← βθ̄ + (1 - β)θ after each step of G, where β = ½^(n / half-life) and n counts the real
    images shown since the step before: what lies ``half_life_kimg`` thousand images back counts
    half. Buffers, such as batch-norm statistics, are copied.
    """

    seen: torch.Tensor

    def __init__(
        self, *, half_life_kimg: Annotated[float, Gt(0), LogUniform(0.5, 50)] = 10.0
    ) -> None:
        super().__init__()
        self.half_life = half_life_kimg * 1000
        self.average = nn.ModuleDict()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def setup(self, networks: Networks, batch: object) -> None:
        for name, pair in networks.items():
            self.average[name] = deepcopy(pair.generator).requires_grad_(False)

    @torch.no_grad()
    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        if player is Player.D:
            return
        decay = 0.5 ** ((progress.images - int(self.seen)) / self.half_life)
        self.seen.fill_(progress.images)
        for name, pair in networks.items():
            mean, new = self.average[name], pair.generator
            torch._foreach_lerp_(
                list(mean.parameters()), [p.detach() for p in new.parameters()], 1 - decay
            )
            for old, current in zip(mean.buffers(), new.buffers(), strict=True):
                old.copy_(current)

    def eval_generator(self, generator: nn.Module, pair: str) -> nn.Module:
        return self.average[pair]
