"""Balanced consistency regularization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.views import inconsistency
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform


@regularizers.register(
    paper="zhao2021",
    needs={Law("images", "it flips and shifts pixels")},
    provides={"consistency"},
    facts={"on": "discriminator"},
)
def balanced_consistency(
    turn: Turn,
    *,
    real_weight: Annotated[float, Gt(0), LogUniform(0.1, 100)] = 10.0,
    fake_weight: Annotated[float, Gt(0), LogUniform(0.1, 100)] = 10.0,
) -> Tensor:
    """D is held to score any image, real or fake, the same after it was flipped and shifted.

    real_weight · E(D(x) - D(T(x)))² + fake_weight · E(D(G(z)) - D(T(G(z))))², of raw scores and
    without a ½; T is that of ``consistency_regularization``, which on real examples alone may leave
    the marks of T to the fakes. The weights are the paper's.
    """
    scores, purpose = turn.scores, "balanced_consistency"
    real = inconsistency(turn, scores.real_batch, scores.real, purpose)
    fake = inconsistency(turn, scores.fake_batch, scores.fake, purpose)
    return real_weight * real + fake_weight * fake
