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
from sweeper.space.holes import Choice
from sweeper.space.space import data_of, load, shipped
from sweeper.sweep.plan import preset_of
from sweeper.trial.loop import open_store, train
from sweeper.trial.networks import probe

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
    "batch.size=8",
    "evaluation={features: random_conv, samples: 16, full_samples: 16, every_kimg: 0.032}",
    "budget.max=0.064",
)
NARROW = ("architecture={dcgan: {channels: 4}}",)
DRAWS = 150


def narrow(file: Path) -> Iterator[str]:
    """What makes the networks and the data of a space that names its own small."""
    trial = load(file, preset=preset_of(data_of(file))).tree
    (data,) = trial["data"]
    if not isinstance(trial["architecture"], Choice):
        (architecture,) = trial["architecture"]
        yield f"architecture.{architecture}.channels=4"
    if data == "glyphs":
        yield f"data.{data}.size=16"
        yield f"data.{data}.length=64"


def draws(file: Path) -> Iterator[Trial]:
    """Random draws from a space that fit, made small enough to be trained in a moment."""
    own = data_of(file)
    space = load(
        file,
        preset=None if own is None else preset_of(own),
        overrides=(*SMALL, *(NARROW if own is None else narrow(file))),
        data={"digits": {}} if own is None else None,
    )
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(DRAWS):
        try:
            yield space.sample(study.ask())
        except Misfit:
            continue


def used(trial: Trial) -> set[tuple[str, str]]:
    return {(pick.entry.family, pick.entry.name) for _, pick in trial.picks()} & WANTED


def built(trial: Trial, cache: Path) -> bool:
    """Whether the networks have a place for all that was drawn."""
    meta = open_store(trial.data, cache).meta
    try:
        probe(trial, meta.shape, meta.known)
    except Misfit:
        return False
    return True


@pytest.fixture(scope="module")
def chosen(cache: Path) -> list[Trial]:
    """The first trial in which each technique stands, and whose networks can be built."""
    seen, found = set[tuple[str, str]](), list[Trial]()
    for file in sorted(shipped().glob("*.yaml")):
        for trial in draws(file):
            if used(trial) - seen and built(trial, cache):
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
