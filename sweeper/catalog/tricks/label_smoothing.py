"""Two-sided label smoothing."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.scores import along
from sweeper.game import Progress, Side, Trick
from sweeper.registry import Law, Uniform


@tricks.register(
    paper="szegedy2016",
    needs={Law("targets", "the other losses ask nothing of D that a label could change")},
    conflicts={Law("smoothing", "both say what D should be asked for about real examples")},
    warns={
        Law(
            "targets",
            "where G's density is large and the data's small, its fakes have no reason to move",
            when="eps_fake > 0",
        )
    },
    facts={"stage": 10},
)
class LabelSmoothing(Trick):
    """D is asked for a little less than certainty about real examples and about fakes.

    t = 1 - ε_r for real examples and t = ε_f for fakes. Each ε is uniform in ε · [1 - spread,
    1 + spread], per example, so that a spread of 1 draws targets in [1 - 2ε_r, 1] and [0, 2ε_f].
    The best D is ((1 - ε_r) p + ε_f q) / (p + q), for densities p of real examples and q of fakes:
    with ε_f = 0 it is one-sided smoothing.
    """

    def __init__(
        self,
        *,
        eps_real: Annotated[float, Ge(0), Le(0.5), Uniform(0.0, 0.3)] = 0.1,
        eps_fake: Annotated[float, Ge(0), Le(0.5), Uniform(0.0, 0.3)] = 0.1,
        spread: Annotated[float, Ge(0), Le(1), Uniform(0.0, 1.0)] = 0.0,
    ) -> None:
        super().__init__()
        self.eps: dict[Side, float] = {"real": eps_real, "fake": eps_fake}
        self.spread = spread

    def targets(self, labels: Tensor, side: Side, progress: Progress) -> Tensor:
        draw = partial(
            torch.rand,
            generator=progress.random["label_smoothing"],
            dtype=labels.dtype,
            device=labels.device,
        )
        unit = along(progress.ranks.drawn(len(labels), draw), labels)
        eps = self.eps[side] * (1 + self.spread * (2 * unit - 1))
        return labels - eps if side == "real" else labels + eps
