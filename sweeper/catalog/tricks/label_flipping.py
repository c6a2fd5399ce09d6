"""Flipped labels."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.scores import along
from sweeper.catalog.tricks.fading import Fading, left
from sweeper.game import Batch, Progress, Trick
from sweeper.registry import Law, LogUniform, Options


@tricks.register(
    provides={"flips"},
    conflicts={
        Law("packs", "a pack would mix real examples and fakes", when="per == sample"),
    },
    warns={
        Law("relativistic", "it compares the two of a pair, and a flip turns their difference"),
    },
    facts={"stage": 40},
)
class LabelFlipping(Trick):
    """Now and then D is told that a real example is a fake and a fake is real.

    With probability p the i-th real example and the i-th fake change places in D's loss, for each i
    by itself, or for the whole batch at once; a loss with label targets thereby gives each the
    other's target, after smoothing and noise. G's moves are as ever. p stays below ½, where nothing
    would be left to learn. ``decay`` lets it fall to 0 over the horizon.
    """

    def __init__(
        self,
        *,
        p: Annotated[float, Gt(0), Lt(0.5), LogUniform(0.005, 0.2)] = 0.05,
        per: Annotated[Literal["sample", "batch"], Options(("sample", "batch"))] = "sample",
        decay: Fading = "constant",
    ) -> None:
        super().__init__()
        self.p, self.per, self.decay = p, per, decay

    def pair(self, real: Batch, fake: Batch, progress: Progress) -> tuple[Batch, Batch]:
        random, device = progress.random["label_flipping"], real.image.device
        draw = partial(torch.rand, generator=random, device=device)
        drawn = progress.ranks.drawn(len(real), draw) if self.per == "sample" else draw(1)
        flipped = drawn < self.p * left(self.decay, progress.fraction)
        return mixed(flipped, fake, real), mixed(flipped, real, fake)


def mixed(where: Tensor, these: Batch, others: Batch) -> Batch:
    """Some examples of one batch, the rest of another, with whatever is known of both."""
    known = dict[str, Tensor]()
    for field in fields(Batch):
        a, b = getattr(these, field.name), getattr(others, field.name)
        if a is not None and b is not None:
            known[field.name] = torch.where(along(where, a), a, b)
    return Batch(**known)
