"""The R2 penalty."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.slopes import CAREFUL, NEVER, input_gradient
from sweeper.game import Turn
from sweeper.registry import LogUniform


@regularizers.register(
    paper="mescheder2018",
    provides={"input_gradient"},
    conflicts=NEVER,
    warns=CAREFUL,
    facts={"on": "discriminator"},
)
def r2_penalty(
    turn: Turn, *, gamma: Annotated[float, Gt(0), LogUniform(0.01, 100)] = 10.0
) -> Tensor:
    """γ/2 times the mean squared gradient norm of D at fakes, for local convergence.

    (γ/2) E‖∇D(G(z))‖², of D's raw score, with the ½ of the paper, whose γ is 10. The fakes are
    places and no more: G learns nothing from it. Of patches, D is the mean score. It may stand
    beside ``r1_penalty``.
    """
    return gamma / 2 * input_gradient(turn.score, turn.fake).square().sum(1).mean()
