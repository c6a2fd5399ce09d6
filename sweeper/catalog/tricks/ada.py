"""Adaptive discriminator augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.tricks.augmentation import Draw, blitted, deformed, recolored, warped
from sweeper.game import Batch, Networks, Player, Progress, Trick, Turn
from sweeper.registry import Integers, Law, LogUniform, Options, Uniform

Pipeline = Literal["blit+geometric+color", "blit+geometric", "blit"]
MEANINGLESS = "whether it overfits is read from the sign of real scores, which says nothing there"


@tricks.register(
    paper="karras2020a",
    needs={Law("images", "it moves and recolours pixels")},
    provides={"random_view"},
    warns={
        Law("critic", MEANINGLESS),
        Law("relativistic", MEANINGLESS),
        Law("flips", "fakes that are shown as real count as real in its measure of overfitting"),
    },
    facts={"stage": 50},
)
class Ada(Trick):
    """D sees images through random changes, the more often the more it overfits.

    Every ``interval`` moves of D, r = E sign(D(x)) over the real scores since the last time, and
    p ← p + sign(r - target) · n / (1000 · speed_kimg), n the real images shown meanwhile: from 0,
    where ``start`` is not more, p could rise to 1 in ``speed_kimg`` thousand images. It is kept in
    [0, 1] (the paper's has no upper end). Each change is made with probability p to each image,
    real or fake, by itself, in both players' moves, and is differentiable. ``blit`` mirrors, turns
    by quarters and shifts by whole pixels; ``geometric`` scales, turns, stretches and shifts;
    ``color`` changes brightness, contrast, light for dark, hue and saturation, all as strongly as
    in the paper. They are sampled bilinearly, where the paper filters wavelets; its filters and
    corruptions of images, which it found to be of little or no use, are left out.
    """

    p: Tensor
    signs: Tensor
    scores: Tensor
    seen: Tensor

    def __init__(
        self,
        *,
        target: Annotated[float, Ge(-1), Le(1), Uniform(0.3, 0.9)] = 0.6,
        speed_kimg: Annotated[float, Gt(0), LogUniform(5, 1000)] = 500.0,
        interval: Annotated[int, Ge(1), Integers(1, 16)] = 4,
        start: Annotated[float, Ge(0), Le(1), Uniform(0.0, 0.5)] = 0.0,
        pipeline: Annotated[
            Pipeline, Options(("blit+geometric+color", "blit+geometric", "blit"))
        ] = "blit+geometric+color",
    ) -> None:
        super().__init__()
        self.target, self.speed, self.interval = target, 1000 * speed_kimg, interval
        self.parts = pipeline.split("+")
        self.register_buffer("p", torch.tensor(start))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("scores", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, turn: Turn) -> None:
        if turn.player is Player.D:
            ranks = turn.progress.ranks
            self.signs += ranks.sum(turn.scores.real.sign().sum())
            self.scores += ranks.size * turn.scores.real.numel()

    def weights(self, player: Player, networks: Networks, progress: Progress) -> None:
        if player is Player.D and progress.moves[player] % self.interval == 0:
            overfits = (self.signs / self.scores - self.target).sign()
            self.p.add_(overfits * (progress.images - self.seen) / self.speed).clamp_(0, 1)
            self.seen.fill_(progress.images)
            self.signs.zero_()
            self.scores.zero_()

    def images(self, batch: Batch, progress: Progress) -> Batch:
        x = batch.image
        draw = Draw(x, progress.random["ada"], self.p, progress.ranks)
        changes = blitted(draw, *x.shape[2:])
        if "geometric" in self.parts:
            changes += deformed(draw, *x.shape[2:])
        x = warped(x, changes)
        return batch.showing(recolored(x, draw) if "color" in self.parts else x)
