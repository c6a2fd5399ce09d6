"""Classic augmentation."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.tricks.augmentation import (
    Affine,
    Draw,
    about,
    scaling,
    shifting,
    turning,
    warped,
)
from sweeper.game import Batch, Progress, Trick
from sweeper.registry import Law, Options, Uniform

LEAKS = "G learns to make changed images, where only real ones are changed"


@tricks.register(
    needs={Law("images", "it moves and recolours pixels")},
    provides={"random_view"},
    warns={Law("images", LEAKS, when="where == real")},
    facts={"stage": 50},
)
class ClassicAugmentation(Trick):
    """Images are mirrored, turned, scaled, shifted and recoloured at random, as for classifiers.

    At a ``strength`` s, each image by itself: with ``mirror``, left to right with chance ½; turned
    by up to 15s degrees, scaled by up to 1 ± s/10 and shifted by up to s/10 of the sides, sampled
    bilinearly, edges mirrored; its brightness moved by up to s/5, and its contrast and saturation
    scaled by up to 1 ± s/5, all uniformly. ``both`` changes whatever D is shown, and G's gradient
    passes through; ``real`` only what it is shown as real.
    """

    def __init__(
        self,
        *,
        mirror: Annotated[bool, Options((False, True))] = True,
        strength: Annotated[float, Ge(0), Le(1), Uniform(0.0, 1.0)] = 0.5,
        where: Annotated[Literal["both", "real"], Options(("both", "real"))] = "both",
    ) -> None:
        super().__init__()
        self.mirror, self.strength, self.where = mirror, strength, where

    def pair(self, real: Batch, fake: Batch, progress: Progress) -> tuple[Batch, Batch]:
        return (self._changed(real, progress), fake) if self.where == "real" else (real, fake)

    def images(self, batch: Batch, progress: Progress) -> Batch:
        return self._changed(batch, progress) if self.where == "both" else batch

    def _changed(self, batch: Batch, progress: Progress) -> Batch:
        x, random = batch.image, progress.random["classic_augmentation"]
        draw = Draw(x, random, ranks=progress.ranks)
        x = warped(x, self._moves(draw, *x.shape[2:]))
        x = x + self._spread(draw, 0.2)
        x = about(x.mean((1, 2, 3), keepdim=True), x, 1 + self._spread(draw, 0.2))
        return batch.showing(about(x.mean(1, keepdim=True), x, 1 + self._spread(draw, 0.2)))

    def _moves(self, draw: Draw, height: int, width: int) -> list[Affine]:
        one = torch.ones_like(draw.like[:, :1, :1, :1])
        side = 1 - 2 * draw.choice(2) if self.mirror else one
        angle = self._spread(draw, math.radians(15))
        scale = 1 + self._spread(draw, 0.1)
        across, along = self._spread(draw, 0.1), self._spread(draw, 0.1)
        return [
            scaling(side, one),
            turning(angle.cos(), angle.sin()),
            scaling(scale, scale),
            shifting(across * width, along * height),
        ]

    def _spread(self, draw: Draw, most: float) -> Tensor:
        """A number for each image, uniform between plus and minus so much of the strength."""
        return self.strength * most * (2 * draw.unit() - 1)
