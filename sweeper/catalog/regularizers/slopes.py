"""What the penalties on D's slope share: the slope itself, places between examples, and laws."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sweeper.catalog.scores import along, of_examples
from sweeper.game import Batch, Score, Turn
from sweeper.registry import Law

COUPLED = "batch statistics make the score of one example depend on the others"
ANYWAY = (
    Law("minibatch_stddev", "its slope runs through the deviation over the other examples, too"),
)
NEVER = (
    Law("clipped", "they are two ways to bound the slope of D, and no paper combines them"),
    Law("minibatch_discrimination", "scores that compare examples have no slope of their own"),
)
DECOUPLED = (*NEVER, Law("batch_statistics", COUPLED))
"""What a penalty conflicts with that asks for a slope of a certain norm."""
CAREFUL = (*ANYWAY, Law("batch_statistics", COUPLED))
"""What a penalty warns about that merely wants small slopes."""


def input_gradient(
    score: Score, batch: Batch, of: Callable[[Tensor], Tensor] = lambda scores: scores
) -> Tensor:
    """The gradient of each score at its example, or ``of`` a function of each, flattened: (N,
    everything else).

    A score that belongs to several examples (a pack) has one row, over all of them; of several
    scores of one example (patches), the row is the gradient of their mean.
    """
    image = batch.image.detach().requires_grad_()
    scores = of_examples(of(score(batch.showing(image)).scores))
    (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
    return gradient.reshape(len(scores), -1)


def shares(turn: Turn, purpose: str) -> Tensor:
    """A number uniform in [0, 1) for each example, the same for all of a pack: (N, 1, …)."""
    x, rows = turn.real.image, len(turn.scores.real)
    draw = partial(torch.rand, generator=turn.progress.random[purpose], device=x.device)
    drawn = turn.progress.ranks.drawn(rows, draw)
    return along(drawn.repeat_interleave(len(x) // rows), x)


def between(turn: Turn, purpose: str) -> Batch:
    """Places on the lines between real examples and fakes: εx + (1 - ε)G(z), ε uniform."""
    share = shares(turn, purpose)
    return turn.real.showing(share * turn.real.image + (1 - share) * turn.fake.image)
