"""The standard deviation over the minibatch."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.normalizations.moments import full
from sweeper.catalog.tricks.minibatch import MIXED, beside
from sweeper.game import Coupled, Summary, Trick
from sweeper.registry import Options

EPS = 1e-8


@tricks.register(
    paper="karras2018",
    provides={"minibatch", "minibatch_stddev", "batch_coupled"},
    warns={MIXED},
    facts={"stage": 66},
)
class MinibatchStddev(Trick):
    """D is told how much the examples of its batch differ, as a channel before its head.

    The batch is split into groups of ``group`` examples (0: into one), strided as in the official
    code: with N/G groups, example i is in group i mod N/G. In each, √(variance + 1e-8) of every
    activation, biased, over the group; its mean over channels and places, the same number for all
    of the group, fills a further channel. ``channels`` > 1 does so for as many equal parts of the
    channels, which must divide. Where a batch does not divide into groups of G, they are of the
    next larger size that divides it, the whole batch at the most.
    """

    def __init__(
        self,
        *,
        group: Annotated[int, Ge(0), Options((2, 4, 8, 0))] = 4,
        channels: Annotated[int, Ge(1), Options((1, 2, 4))] = 1,
    ) -> None:
        super().__init__()
        self.group, self.channels = group, channels

    def summary(self, shape: tuple[int, ...]) -> Summary:
        return Deviation(shape, self.group, self.channels)


class Deviation(Coupled, Summary):
    """Activations, and how much they differ within each group of examples."""

    def __init__(self, shape: tuple[int, ...], group: int, parts: int) -> None:
        if shape[0] % parts:
            law = "channels of minibatch_stddev divides the width of D's last hidden layer"
            raise ValueError(f"{law}, but got {parts} and {shape[0]}")
        super().__init__(shape[0] + parts)
        self.group, self.parts = group, parts

    def forward(self, h: Tensor) -> Tensor:
        everyone = self.company.gathered(full(h))
        size = size_of_groups(len(everyone), self.group)
        y = everyone.reshape(size, len(everyone) // size, self.parts, -1)
        deviation = (y.var(0, correction=0) + EPS).sqrt().mean(-1)
        return beside(h, self.company.own(deviation.repeat(size, 1)))


def size_of_groups(n: int, wanted: int) -> int:
    """The smallest divisor of ``n`` from ``wanted`` up; ``n`` if there is none, or for 0."""
    return next((g for g in range(wanted or n, n) if n % g == 0), n)
