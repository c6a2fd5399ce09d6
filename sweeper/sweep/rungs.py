"""ASHA's rungs: where on the budget axis a trial is judged, and against whom (Li et al. 2020)."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field

from sweeper.ledger.ledger import Event, failing


def rungs_of(horizon: int, every: int, first: float, factor: int) -> tuple[int, ...]:
    """The rungs below a horizon, in images, moved up to the next evaluation."""
    steps = []
    level = horizon * first
    while level < horizon * (1 - 1e-9):
        steps.append(every * math.ceil(level / every - 1e-9))
        level *= factor
    return tuple(sorted({step for step in steps if step < horizon}))


@dataclass
class Rungs:
    """Asynchronous successive halving, stopping variant: at each rung the best one in ``factor`` so
    far goes on.

    A trial is judged at a rung by its best score when it first comes to it or beyond; a later score
    never fills an earlier rung. One that fails a diagnosis is not judged, and nobody is judged
    against it. Its state is a function of the events, so it is rebuilt by
    replaying them.
    """

    levels: tuple[int, ...]
    factor: int
    scores: dict[int, list[float]] = field(default_factory=dict)
    reached: dict[int, int] = field(default_factory=dict)

    def judge(self, trial: int, step: int, best: float, *, exempt: bool = False) -> bool:
        """Enter a measurement; whether the trial may go on. An exempt one (a baseline) is never
        stopped and never judged against."""
        passed = sum(level <= step for level in self.levels)
        if passed <= self.reached.get(trial, 0):
            return True
        self.reached[trial] = passed
        if exempt:
            return True
        scores = self.scores.setdefault(self.levels[passed - 1], [])
        insort(scores, best)
        return best <= scores[max(len(scores) // self.factor, 1) - 1]

    def replay(self, events: Iterable[Event], exempt: frozenset[int]) -> None:
        """Enter what was measured before, in the order in which it was."""
        for event in events:
            if event.kind == "measured" and not failing(event.data):
                self.judge(
                    event.trial, event.step, event.data["best"], exempt=event.trial in exempt
                )
