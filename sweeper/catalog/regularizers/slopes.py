"""The gradient of D's score at its input, which several penalties are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from sweeper.game import Batch, Score


def input_gradient(score: Score, batch: Batch) -> Tensor:
    """The gradient of each score at its example, flattened: (N, everything else).

    A score that belongs to several examples (a pack) has one row, over all of them.
    """
    image = batch.image.detach().requires_grad_()
    scores = score(batch.showing(image)).scores
    (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
    return gradient.reshape(len(scores), -1)
