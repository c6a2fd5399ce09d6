"""One-sided label smoothing."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.scores import along
from sweeper.game import Progress, Side, Trick
from sweeper.registry import Law, Uniform


@tricks.register(
    paper="salimans2016",
    needs={Law("targets", "the other losses ask nothing of D that a label could change")},
    provides={"smoothing"},
    facts={"stage": 10},
)
class OneSidedLabelSmoothing(Trick):
    """D is asked for a little less than certainty about real examples; all other targets stay.

    The real target is uniform in [alpha - spread, alpha + spread], per example: U(0.7, 1.2) is
    alpha 0.95 with a spread of 0.25. Its mean is never above one, since there the loss would have
    no minimum. The best D is αp / (p + q), for densities p of real examples and q of fakes.
    """

    def __init__(
        self,
        *,
        alpha: Annotated[float, Gt(0), Le(1), Uniform(0.7, 1.0)] = 0.9,
        spread: Annotated[float, Ge(0), Le(0.5), Uniform(0.0, 0.25)] = 0.0,
    ) -> None:
        super().__init__()
        self.alpha, self.spread = alpha, spread

    def targets(self, labels: Tensor, side: Side, progress: Progress) -> Tensor:
        if side == "fake":
            return labels
        draw = partial(
            torch.rand,
            generator=progress.random["label_smoothing"],
            dtype=labels.dtype,
            device=labels.device,
        )
        unit = along(progress.ranks.drawn(len(labels), draw), labels)
        return labels * (self.alpha + self.spread * (2 * unit - 1))
