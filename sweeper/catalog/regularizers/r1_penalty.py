"""The R1 penalty."""

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
    provides={"lipschitz", "input_gradient"},
    conflicts=NEVER,
    warns=CAREFUL,
    facts={"on": "discriminator"},
)
def r1_penalty(
    turn: Turn, *, gamma: Annotated[float, Gt(0), LogUniform(0.01, 100)] = 10.0
) -> Tensor:
    """γ/2 times the mean squared gradient norm of D at real examples, for local convergence.

    (γ/2) E‖∇D(x)‖², of D's raw score, with the ½ of the paper (the authors' code leaves it out),
    the norm over all dimensions of what is scored; of patches, D is the mean score. γ = 10 is the
    paper's.
    """
    return gamma / 2 * input_gradient(turn.score, turn.real).square().sum(1).mean()
