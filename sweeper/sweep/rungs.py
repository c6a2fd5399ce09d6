"""ASHA's rungs: where on the budget axis a trial is judged, and against whom (Li et al. 2020)."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sweeper.ledger.ledger import Event, failing

Bracket = bool | int | float | str | None
"""What trials have in common that are judged among themselves."""


def rungs_of(horizon: int, every: int, first: float, factor: int) -> tuple[int, ...]:
    """The rungs below a horizon, in images, moved up to the next evaluation."""
    steps = []
    level = horizon * first
    while level < horizon * (1 - 1e-9):
        steps.append(every * math.ceil(level / every - 1e-9))
        level *= factor
    return tuple(sorted({step for step in steps if step < horizon}))


@dataclass(frozen=True)
class Plateau:
    """A trial has converged when its best score has fallen by less than a share ``tolerance`` of
    it in ``patience`` evaluations."""

    patience: int
    tolerance: float

    def reached(self, bests: Sequence[float]) -> bool:
        """Whether a trial has that had these best scores so far, at its evaluations."""
        if len(bests) <= self.patience:
            return False
        return bests[-1] >= bests[-1 - self.patience] * (1 - self.tolerance)


@dataclass
class Rungs:
    """Asynchronous successive halving, stopping variant: at each rung the best one in ``factor`` so
    far goes on.

    A trial is judged at a rung by its best score when it first comes to it or beyond, among those
    of its bracket; a later score never fills an earlier rung. One that has converged stops, and
    stands at the rungs that it would have come to with the score it has. One that fails a diagnosis
    is not judged, and nobody is judged against it. Its state is a function of the events, so it is
    rebuilt by replaying them.
    """

    levels: tuple[int, ...]
    factor: int
    plateau: Plateau | None = None
    scores: dict[tuple[Bracket, int], list[float]] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)
    bests: dict[int, deque[float]] = field(default_factory=dict)

    def judge(
        self,
        trial: int,
        step: int,
        best: float,
        *,
        exempt: bool = False,
        bracket: Bracket = None,
    ) -> bool:
        """Enter a measurement; whether the trial may go on. An exempt one (a baseline) is never
        stopped and never judged against."""
        if exempt:
            return True
        goes_on = self._among_the_best(trial, step, best, bracket)
        if goes_on and self._converged(trial, best):
            for level in self.levels[self.reached[trial] :]:
                insort(self.scores.setdefault((bracket, level), []), best)
            return False
        return goes_on

    def _among_the_best(self, trial: int, step: int, best: float, bracket: Bracket) -> bool:
        passed = sum(level <= step for level in self.levels)
        if passed <= self.reached.setdefault(trial, 0):
            return True
        self.reached[trial] = passed
        scores = self.scores.setdefault((bracket, self.levels[passed - 1]), [])
        insort(scores, best)
        return best <= scores[max(len(scores) // self.factor, 1) - 1]

    def _converged(self, trial: int, best: float) -> bool:
        if self.plateau is None:
            return False
        bests = self.bests.setdefault(trial, deque(maxlen=self.plateau.patience + 1))
        bests.append(best)
        return self.plateau.reached(bests)

    def replay(
        self,
        events: Iterable[Event],
        exempt: frozenset[int],
        bracket: Callable[[int], Bracket] = lambda trial: None,
        place: Callable[[int, int], int] = lambda trial, step: step,
    ) -> None:
        """Enter what was measured before, in the order in which it was; a trial's ``place`` on the
        axis that it is judged on follows from its steps."""
        for event in events:
            if event.kind == "measured" and not failing(event.data):
                self.judge(
                    event.trial,
                    place(event.trial, event.step),
                    event.data["best"],
                    exempt=event.trial in exempt,
                    bracket=bracket(event.trial),
                )
