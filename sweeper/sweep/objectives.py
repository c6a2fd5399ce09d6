"""What trials are compared by beside their score, and how NSGA-II counts them (Deb et al. 2002)."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.samplers import NSGAIISampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeper.ledger.ledger import Record
from sweeper.space.document import COST, Objective

POPULATION = 16
"""Trials of a generation: Optuna's 50 would leave most sweeps in the first."""


def directions(objective: Objective) -> list[StudyDirection]:
    """Whether less or more is better: of the score, and of each that stands beside it."""
    less, more = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
    return [less, *(less if name == COST else more for name in objective.beside)]


def values(objective: Objective, record: Record) -> list[float] | None:
    """What a trial is compared by; None if not all of it is known."""
    beside = [
        record.seconds if name == COST else record.metrics.get(name) for name in objective.beside
    ]
    known = [value for value in (record.score, *beside) if value is not None]
    return known if len(known) == 1 + len(beside) else None


def in_generations(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Trials, in the order in which they ended, as NSGA-II counts those that are complete: so many
    are a generation, from whose best the next one comes."""
    key = NSGAIISampler._get_generation_key()
    counted = list[FrozenTrial]()
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            trial._trial_id = trial.number
            trial.system_attrs = {key: len(counted) // POPULATION}
            counted.append(trial)
    return counted
