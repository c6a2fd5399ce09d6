"""The gradient penalty of WGAN-GP."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import relu

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.slopes import ANYWAY, DECOUPLED, between, input_gradient
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform, Options, Uniform


@regularizers.register(
    paper="gulrajani2017",
    provides={"lipschitz", "input_gradient"},
    conflicts=DECOUPLED,
    warns=(
        *ANYWAY,
        Law("spectral", "they are two ways to bound the slope of D", when="target > 0"),
    ),
    facts={"on": "discriminator"},
)
def gradient_penalty(
    turn: Turn,
    *,
    weight: Annotated[float, Gt(0), LogUniform(0.1, 100)] = 10.0,
    target: Annotated[float, Ge(0), Uniform(0.0, 2.0)] = 1.0,
    one_sided: Annotated[bool, Options((False, True))] = False,
) -> Tensor:
    """The gradient norm of D is held at ``target`` on lines between real examples and fakes.

    weight · E(‖∇D(x̂)‖ - target)², x̂ = εx + (1 - ε)G(z), ε uniform in [0, 1] per example (or pack),
    the norm over all dimensions of what is scored, D's mean score where it scores patches;
    ``one_sided`` lets smaller norms be. D is seen behind whatever changes its view, so under
    instance noise the slope is that at x̂ with noise. Weight 10 and target 1 are the paper's.
    """
    excess = input_gradient(turn.score, between(turn, "gradient_penalty")).norm(dim=1) - target
    return weight * (relu(excess) if one_sided else excess).square().mean()
