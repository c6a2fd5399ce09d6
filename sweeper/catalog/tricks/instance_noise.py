"""Instance noise."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.tricks.fading import Fading, left
from sweeper.game import Batch, Progress, Trick
from sweeper.registry import LogUniform, Uniform


@tricks.register(paper="sonderby2017", provides={"random_view"}, facts={"stage": 60})
class InstanceNoise(Trick):
    """Gaussian noise, fading out, on every image that D sees, in both players' moves.

    D sees x + η, η ~ N(0, σ_t²) for every number of every image, drawn anew whenever it looks;
    σ_t = σ · max(0, 1 - t/T), where images lie in [-1, 1], σ is ``sigma``, t counts real images,
    and T is the share ``until`` of the horizon. ``decay: cosine`` falls from σ to 0 along half a
    cosine instead, and ``constant`` not at all. Penalties act on D behind the noise; what is
    measured never has any.
    """

    def __init__(
        self,
        *,
        sigma: Annotated[float, Gt(0), LogUniform(0.01, 0.5)] = 0.1,
        until: Annotated[float, Gt(0), Le(1), Uniform(0.1, 1.0)] = 0.5,
        decay: Fading = "linear",
    ) -> None:
        super().__init__()
        self.sigma, self.until, self.decay = sigma, until, decay

    def deviation(self, progress: Progress) -> float:
        return self.sigma * left(self.decay, progress.fraction / self.until)

    def images(self, batch: Batch, progress: Progress) -> Batch:
        deviation = self.deviation(progress)
        if deviation == 0:
            return batch
        x, random = batch.image, progress.random["instance_noise"]

        def draw(n: int) -> Tensor:
            return torch.randn(n, *x.shape[1:], generator=random, device=x.device)

        return batch.showing(x + deviation * progress.ranks.drawn(len(x), draw))
