"""Proposals in a fixed order: the points of a sequence, each once, but those that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sweeper.config import Trial
from sweeper.space.draw import Draw
from sweeper.space.space import SearchSpace


class Series:
    """Where a sweep stands in a sequence of points.

    That follows from the parameters of the trials that were run, in their order: a point in between
    was one that did not fit. What is remembered only saves going through them again.
    """

    def __init__(self, space: SearchSpace, points: Callable[[], Iterator[Draw]]) -> None:
        self.space = space
        self.points = points
        self._begin()

    def _begin(self) -> None:
        self._left, self._passed = self.points(), 0

    def next(
        self,
        ran: Sequence[Mapping[str, Any]],
        made: Callable[[Draw], Trial | None],
        attempts: int | None,
    ) -> tuple[Draw, Trial] | None:
        """The first point after those that were run of which a trial can be ``made``; None after so
        many ``attempts`` in a row, if not any number is allowed, or at the end of the sequence."""
        if self._passed > len(ran):
            self._begin()
        tried = 0
        for point in self._left:
            trial = None
            if self._passed < len(ran):
                self.space.walk(point)
                fits = point.params == ran[self._passed]
            else:
                trial = made(point)
                fits = trial is not None
            self._passed, tried = self._passed + fits, 0 if fits else tried + 1
            if trial is not None:
                return point, trial
            if tried == attempts:
                self._begin()
                return None
        self._begin()
        return None
