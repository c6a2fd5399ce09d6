"""The gradient penalty of WGAN-GP."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import relu

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.slopes import input_gradient
from sweeper.game import Turn
from sweeper.registry import LogUniform, Options, Uniform


@regularizers.register(
    paper="gulrajani2017",
    provides={"lipschitz", "input_gradient"},
    conflicts={"batch_statistics"},
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

    weight · E(‖∇D(x̂)‖ - target)², x̂ = εx + (1 - ε)G(z), ε uniform in [0, 1] per example, the norm
    over all of the example's dimensions; ``one_sided`` lets smaller norms be.
    """
    real, fake = turn.real.image, turn.fake.image
    random = turn.progress.random["gradient_penalty"]
    share = torch.rand(len(real), *[1] * (real.ndim - 1), generator=random, device=real.device)
    between = turn.real.showing(share * real + (1 - share) * fake)
    excess = input_gradient(turn.score, between).norm(dim=1) - target
    return weight * (relu(excess) if one_sided else excess).square().mean()
