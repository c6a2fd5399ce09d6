"""Exponential moving average of the generator."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt

from sweeper.catalog.families import tricks
from sweeper.catalog.tricks.averages import ONE_AVERAGE, Average
from sweeper.game import Progress
from sweeper.registry import LogUniform, Options


@tricks.register(
    paper="yazici2019", provides={"averaged"}, conflicts={ONE_AVERAGE}, facts={"stage": 90}
)
class Ema(Average):
    """The generator that is evaluated is an exponential moving average of the trained one.

    θ̄ ← βθ̄ + (1 - β)θ after each step of G, where β = ½^(n / half-life) and n counts the real
    images shown since the step before: what lies ``half_life_kimg`` thousand images back counts
    half. With a ``warmup`` the half-life is never more than this share of the images seen so far,
    so that the random start is soon forgotten (0.05 in StyleGAN2, Karras et al. 2020); 0 is none.
    Weights that are reparametrised are averaged as they are trained. Buffers, such as batch-norm
    statistics, are copied.
    """

    def __init__(
        self,
        *,
        half_life_kimg: Annotated[float, Gt(0), LogUniform(0.5, 50)] = 10.0,
        warmup: Annotated[float, Ge(0), Options((0.0, 0.05, 0.2))] = 0.0,
    ) -> None:
        super().__init__()
        self.half_life, self.warmup = half_life_kimg * 1000, warmup
        self.seen = 0

    def share(self, progress: Progress) -> float:
        since, self.seen = progress.images - self.seen, progress.images
        half_life = self.half_life
        if self.warmup:
            half_life = min(half_life, max(self.warmup * progress.images, 1e-8))
        return 1 - float(0.5 ** (since / half_life))

    def get_extra_state(self) -> int:
        return self.seen

    def set_extra_state(self, state: int) -> None:
        self.seen = state
