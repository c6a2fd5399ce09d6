"""Consistency regularization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.views import inconsistency
from sweeper.game import Turn
from sweeper.registry import Law, LogUniform


@regularizers.register(
    paper="zhang2020",
    needs={Law("images", "it flips and shifts pixels")},
    conflicts={Law("consistency", "it holds D's scores of real examples steady already")},
    facts={"on": "discriminator"},
)
def consistency_regularization(
    turn: Turn, *, weight: Annotated[float, Gt(0), LogUniform(0.1, 100)] = 10.0
) -> Tensor:
    """D is held to score a real image the same after it was flipped and shifted.

    weight · E(D(x) - D(T(x)))², of raw scores and without a ½. T mirrors an image left to right or
    not and shifts it by whole pixels, each way up to an eighth of its side (4 of 32 in the paper),
    with reflection at the edges. Gradients flow through both scores. The weight is the paper's.
    """
    scores = turn.scores
    return weight * inconsistency(
        turn, scores.real_batch, scores.real, "consistency_regularization"
    )
