"""The way there and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform


@regularizers.register(
    paper="zhu2017",
    needs={Law("both_ways", "the way back is that of a second generator")},
    provides={"content"},
    facts={"on": "generator", "told": ("source",)},
)
def cycle_consistency_loss(
    turn: Turn,
    *,
    weight: Annotated[float, Gt(0), LogUniform(1, 50)] = 10.0,
    back: Annotated[float, Gt(0), LogUniform(0.2, 5)] = 1.0,
) -> Tensor:
    """What G makes of an image, the other generator is to turn into that image again.

    weight · (mean|F(G(a)) - a| + back · mean|G(F(b)) - b|) over both pairs: G, of the main pair,
    makes b's of a's, and F the other way round; the means are over examples, channels and pixels. a
    and b are the images that the pairs are given; gradients reach both generators, and the fakes
    are the new ones, whatever pool D sees. ``weight`` and ``back`` are the paper's λ = 10 for both.
    """
    (other,) = (pair for name, pair in turn.others.items() if name != turn.pair)
    given = turn.real.context
    assert given.source is not None
    again: Tensor = other.generator(turn.latents, replace(given, source=turn.fake.image))
    share = weight if turn.pair == "main" else weight * back
    return share * (again - given.source.detach()).abs().mean()
