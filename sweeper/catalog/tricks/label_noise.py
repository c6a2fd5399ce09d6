"""Noise on D's label targets."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.scores import along
from sweeper.catalog.tricks.fading import Fading, left
from sweeper.game import Progress, Side, Trick
from sweeper.registry import Law, LogUniform, Options


@tricks.register(
    needs={Law("targets", "the other losses ask nothing of D that a label could change")},
    facts={"stage": 20},
)
class LabelNoise(Trick):
    """The label target of each example gets noise of its own, and is then clamped to [0, 1].

    t ← clamp(t + η, 0, 1), where η has mean 0 and a deviation of ``sigma``, normal or uniform (on
    ±√3 σ). It comes after any smoothing. Next to 0 and 1 clamping cuts off one half of the noise,
    which smooths both labels by σ/√(2π), or √3σ/4, on average. ``decay`` lets σ fall to 0 over the
    horizon.
    """

    def __init__(
        self,
        *,
        sigma: Annotated[float, Gt(0), LogUniform(0.01, 0.2)] = 0.05,
        noise: Annotated[Literal["normal", "uniform"], Options(("normal", "uniform"))] = "normal",
        decay: Fading = "constant",
    ) -> None:
        super().__init__()
        self.sigma, self.noise, self.decay = sigma, noise, decay

    def targets(self, labels: Tensor, side: Side, progress: Progress) -> Tensor:
        deviation = self.sigma * left(self.decay, progress.fraction)
        return (labels + deviation * self.standard(labels, progress)).clamp(0, 1)

    def standard(self, labels: Tensor, progress: Progress) -> Tensor:
        """Noise of mean 0 and deviation 1 for each example, beside its labels: (N, 1, …)."""
        draw = partial(
            torch.randn if self.noise == "normal" else torch.rand,
            generator=progress.random["label_noise"],
            dtype=labels.dtype,
            device=labels.device,
        )
        drawn = along(progress.ranks.drawn(len(labels), draw), labels)
        return drawn if self.noise == "normal" else 3**0.5 * (2 * drawn - 1)
