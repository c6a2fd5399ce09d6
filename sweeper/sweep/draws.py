"""Random draws of a search space that can be run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sweeper.config import Misfit, Problem, Trial
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace
from sweeper.sweep.proposer import ATTEMPTS, Drawn, random_study

Fits = Callable[[Trial], object]
"""Raises Misfit of a trial that cannot be run."""


def draws(space: SearchSpace, fits: Fits) -> Iterator[Drawn]:
    """The random draws of a space that can be run, under the seed of its search. Raises InputError
    when many in a row cannot."""
    study, broken, tried = random_study(space.search.seed), dict[str, Problem](), 0
    while tried < ATTEMPTS:
        asked = study.ask()
        try:
            trial = space.sample(asked)
            fits(trial)
        except Misfit as misfit:
            broken |= {problem.law: problem for problem in misfit.problems}
            tried += 1
            continue
        yield dict(asked.params), trial
        broken, tried = {}, 0
    raise InputError(
        [f"{ATTEMPTS} draws in a row do not fit together:", *map(space.fault, broken.values())]
    )
