"""Which examples are trained on, and which ones generators are measured against."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sweeper.config import Evaluation
from sweeper.game import derive

Split = Literal["rung", "heldout", "all"]


class Shares(NamedTuple):
    """The indices of a data set's examples, in an order by seed: those that scores are taken
    against, those that full measurements are, and those that are trained on, None for all."""

    rung: Tensor
    heldout: Tensor
    trained: Tensor | None


def shares(length: int, evaluation: Evaluation) -> Shares:
    """Two halves of what is held out: of all examples, or of a share that is never trained on."""
    random = torch.Generator().manual_seed(derive(evaluation.seed, "halves"))
    shuffled = torch.randperm(length, generator=random)
    kept = length if evaluation.held_out is None else max(2, round(evaluation.held_out * length))
    rung, heldout = torch.split(shuffled[:kept], (kept + 1) // 2)
    return Shares(rung, heldout, None if evaluation.held_out is None else shuffled[kept:])
