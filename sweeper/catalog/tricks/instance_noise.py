"""Instance noise."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Le

from sweeper.catalog.families import tricks
from sweeper.game import Batch, Progress, Trick
from sweeper.registry import LogUniform, Uniform


@tricks.register(paper="sonderby2017", facts={"stage": 60})
class InstanceNoise(Trick):
    """Gaussian noise, fading out linearly, on every image that D sees, in both players' moves.

    Its deviation falls from ``sigma`` (images lie in [-1, 1]) to 0 over the first ``until`` of the
    horizon.
    """

    def __init__(
        self,
        *,
        sigma: Annotated[float, Gt(0), LogUniform(0.01, 0.5)] = 0.1,
        until: Annotated[float, Gt(0), Le(1), Uniform(0.1, 1.0)] = 0.5,
    ) -> None:
        super().__init__()
        self.sigma, self.until = sigma, until

    def deviation(self, progress: Progress) -> float:
        return self.sigma * max(0.0, 1 - progress.fraction / self.until)

    def images(self, batch: Batch, progress: Progress) -> Batch:
        deviation = self.deviation(progress)
        if deviation == 0:
            return batch
        x = batch.image
        noise = torch.randn(x.shape, generator=progress.random["instance_noise"], device=x.device)
        return batch.showing(x + deviation * noise)
