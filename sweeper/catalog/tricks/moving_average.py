"""Uniform average of the generator."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt

from sweeper.catalog.families import tricks
from sweeper.catalog.tricks.averages import ONE_AVERAGE, Average
from sweeper.game import Progress
from sweeper.registry import Uniform


@tricks.register(
    paper="yazici2019", provides={"averaged"}, conflicts={ONE_AVERAGE}, facts={"stage": 90}
)
class MovingAverage(Average):
    """The generator that is evaluated is the plain mean of the trained one over its later steps.

    θ̄ₜ = θ̄ₜ₋₁ + (θₜ - θ̄ₜ₋₁) / t, where t counts the steps of G from ``start`` of the horizon on.
    Until then the present weights are shown. No weights are ever forgotten, so that early ones had
    better not count. Buffers, such as batch-norm statistics, are copied.
    """

    def __init__(self, *, start: Annotated[float, Ge(0), Lt(1), Uniform(0.0, 0.7)] = 0.5) -> None:
        super().__init__()
        self.start, self.steps = start, 0

    def share(self, progress: Progress) -> float:
        self.steps += progress.fraction >= self.start
        return 1 / max(self.steps, 1)

    def get_extra_state(self) -> int:
        return self.steps

    def set_extra_state(self, state: int) -> None:
        self.steps = state
