"""Every technique of the training step works: it is sampled from a space that ships, and its trial
is trained to its end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler

from sweeper.catalog import families as of
from sweeper.config import Misfit, Trial
from sweeper.space.space import load, shipped
from sweeper.trial.loop import train

STEP = [
    of.constraints,
    of.losses,
    of.optimizers,
    of.priors,
    of.regularizers,
    of.schedules,
    of.tricks,
]
WANTED = {(registry.family, name) for registry in STEP for name in registry}
SMALL = (
    "architecture={dcgan: {channels: 4}}",
    "batch.size=8",
    "evaluation={features: random, samples: 16, every_kimg: 0.032}",
    "budget.max=0.064",
)
DRAWS = 150


def draws(file: Path) -> Iterator[Trial]:
    """Random draws from a space that fit, made small enough to be trained in a moment."""
    space = load(file, overrides=SMALL, data={"digits": {}})
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(DRAWS):
        try:
            yield space.sample(study.ask())
        except Misfit:
            continue


def used(trial: Trial) -> set[tuple[str, str]]:
    return {(pick.entry.family, pick.entry.name) for _, pick in trial.picks()} & WANTED


@pytest.fixture(scope="module")
def chosen() -> list[Trial]:
    """The first trial in which each technique stands."""
    seen, found = set[tuple[str, str]](), list[Trial]()
    for file in sorted(shipped().glob("*.yaml")):
        for trial in draws(file):
            if used(trial) - seen:
                seen |= used(trial)
                found.append(trial)
    return found


def test_every_technique_of_the_step_is_in_a_space_that_ships(chosen: list[Trial]) -> None:
    assert WANTED - set().union(*map(used, chosen)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_its_trial_is_trained_to_its_end(part: int, chosen: list[Trial], cache: Path) -> None:
    for trial in chosen[part::8]:
        measured = list(train(trial, cache))
        assert measured[-1].images >= 64
        assert math.isfinite(measured[-1].score), trial.plain()
