"""Dropout in G."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn.functional import dropout

from sweeper.catalog.families import tricks
from sweeper.game import Coupled, Player, Trick
from sweeper.registry import Integers, Law, Options, Uniform


@tricks.register(
    paper="isola2017",
    warns={
        Law(
            "generator.batch_statistics",
            "batch norm makes dropout unnecessary in fully connected layers",
            unless="feature_maps",
        )
    },
    facts={"stage": 50},
)
class GeneratorDropout(Trick):
    """Activations of G are dropped at random, also when it is evaluated: noise beside the latents.

    In each of the first ``layers`` hidden layers, after its activation, every number is 0 with
    probability ``p`` and else divided by 1 - p. pix2pix drops half in the first three layers of its
    decoder, also at test time (``at_test``).
    """

    def __init__(
        self,
        *,
        p: Annotated[float, Ge(0), Lt(1), Uniform(0.0, 0.6)] = 0.5,
        layers: Annotated[int, Ge(1), Integers(1, 6)] = 3,
        at_test: Annotated[bool, Options((True, False))] = True,
    ) -> None:
        super().__init__()
        self.p, self.layers, self.at_test = p, layers, at_test

    def hidden(self, player: Player, channels: int, depth: int) -> nn.Module | None:
        drops = player is Player.G and depth < self.layers
        return Dropout(self.p, self.at_test) if drops else None


class Dropout(Coupled):
    """Dropout, in evaluation too if so asked."""

    def __init__(self, p: float, at_test: bool) -> None:
        super().__init__()
        self.p, self.at_test = p, at_test

    def forward(self, h: Tensor) -> Tensor:
        if not (self.training or self.at_test):
            return h
        return h * self.company.drawn(
            h.shape[0], lambda n: dropout(h.new_ones(n, *h.shape[1:]), self.p)
        )
