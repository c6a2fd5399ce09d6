"""Total variation."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform, Options


@regularizers.register(
    paper="rudin1992",
    needs={Law("images", "it compares neighbouring pixels")},
    provides={"content"},
    facts={"on": "generator"},
)
def total_variation_loss(
    turn: Turn,
    *,
    weight: Annotated[float, Gt(0), LogUniform(1e-7, 1e-1)] = 1e-4,
    p: Annotated[Literal[1, 2], Options((1, 2))] = 1,
) -> Tensor:
    """G is paid for fakes whose neighbouring pixels are alike: smooth, and at worst blurred.

    weight · E(Σ|x[i+1, j] - x[i, j]|ᵖ + Σ|x[i, j+1] - x[i, j]|ᵖ), the sums over all pixels and
    channels of a fake, the mean over fakes. It is the anisotropic form, horizontal and vertical
    differences apart; that of the paper takes the root of their squares.
    """
    x = turn.fake.image
    down = x.diff(dim=-2).abs().pow(p).flatten(1).sum(1)
    across = x.diff(dim=-1).abs().pow(p).flatten(1).sum(1)
    return weight * (down + across).mean()
