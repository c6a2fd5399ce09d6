"""What averages of the generator have in common."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from sweeper.game import Networks, Player, Progress, Trick
from sweeper.registry import Law

ONE_AVERAGE = Law("averaged", "there is one generator to be shown, and each would show its own")


class Average(Trick):
    """A generator that is shown in place of the trained one, and follows it after each of its
    steps: θ̄ ← θ̄ + share · (θ - θ̄), and buffers are copied."""

    def __init__(self) -> None:
        super().__init__()
        self.average = nn.ModuleDict()

    def setup(self, networks: Networks, batch: object) -> None:
        for name, pair in networks.items():
            self.average[name] = deepcopy(pair.generator).requires_grad_(False)

    @torch.no_grad()
    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        if player is Player.D:
            return
        share = self.share(progress)
        for name, pair in networks.items():
            mean, new = self.average[name], pair.generator
            torch._foreach_lerp_(
                list(mean.parameters()), [p.detach() for p in new.parameters()], share
            )
            for old, current in zip(mean.buffers(), new.buffers(), strict=True):
                old.copy_(current)

    def share(self, progress: Progress) -> float:
        """How much the newest weights count beside all those before."""
        raise NotImplementedError

    def eval_generator(self, generator: nn.Module, pair: str) -> nn.Module:
        return self.average[pair]
