"""The distance of a fake from what it should have become."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform, Options

UNPAIRED = Law("unpaired", "source and image belong together by chance: there is no target")


@regularizers.register(
    paper="isola2017",
    needs={Law("images", "points are made from nothing but latents")},
    provides={"content", "reconstruction"},
    conflicts={UNPAIRED},
    facts={
        "on": "generator",
        "told": ("pair", Law("mask", when="inside > 1"), Law("mask", when="inside < 1")),
    },
)
def reconstruction_loss(
    turn: Turn,
    *,
    weight: Annotated[float, Gt(0), LogUniform(1, 200)] = 100.0,
    p: Annotated[Literal[1, 2], Options((1, 2))] = 1,
    inside: Annotated[float, Gt(0), LogUniform(1, 10)] = 1.0,
) -> Tensor:
    """G is paid for making of its source the very image that belongs to it.

    weight · mean(w · |x̂ - x|ᵖ), the mean over examples, channels and pixels, where x̂ is G's own new
    fake and x the target, a constant. p = 1 is pix2pix's, whose weight is 100; p = 2 blurs more. w
    is ``inside`` where the mask is and 1 elsewhere: 6 and 1 are those of Liu et al. 2018 for holes.
    """
    x, made = turn.real.image.detach(), turn.fake.image
    off = (made - x).abs().pow(p)
    if inside != 1:
        assert turn.real.mask is not None
        off = (1 + (inside - 1) * turn.real.mask.amax(1, keepdim=True)) * off
    return weight * off.mean()
