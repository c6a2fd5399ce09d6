"""The zero-centered gradient penalty."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.slopes import CAREFUL, NEVER, between, input_gradient
from sweeper.game import Turn
from sweeper.registry import LogUniform, Options


@regularizers.register(
    paper="thanh2019",
    provides={"lipschitz", "input_gradient"},
    conflicts=NEVER,
    warns=CAREFUL,
    facts={"on": "discriminator"},
)
def zero_centered_gp(
    turn: Turn,
    *,
    weight: Annotated[float, Gt(0), LogUniform(0.1, 200)] = 10.0,
    of: Annotated[Literal["logits", "probability"], Options(("logits", "probability"))] = "logits",
) -> Tensor:
    """D is kept flat on lines between real examples and fakes, so that it generalises.

    weight · E‖∇D(u)‖², u = αx + (1 - α)G(z), α uniform in [0, 1] per example, the norm over all
    dimensions of what is scored, and no ½. The slope is that ``of`` the raw score, or of its
    sigmoid as in the authors' code, which vanishes where D is certain; of patches, of the mean. Of
    logits, it is ``gradient_penalty`` with a target of 0. The paper's weights go up to 100.
    """
    read = torch.sigmoid if of == "probability" else lambda logits: logits
    slope = input_gradient(turn.score, between(turn, "zero_centered_gp"), read)
    return weight * slope.square().sum(1).mean()
