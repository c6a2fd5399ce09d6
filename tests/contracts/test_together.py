"""Techniques of the training step together: every two of them that may be, in some trial."""

from __future__ import annotations

import itertools
import math
from functools import cache as once
from pathlib import Path

import pytest
import torch

from sweeper.config import Trial
from sweeper.registry import tags
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.verify.contracts import tiny
from tests.contracts.cases import CASES
from tests.contracts.pairs import STEP, Feature, covering_array, together, trial_of
from tests.contracts.same import differences, leaves_the_other_alone


def known() -> list[Feature]:
    """The techniques of the step. Of normalizations of which the others are told the same, the
    first stands for all: the step sees no other difference."""
    alike = dict[object, Feature]()
    for case in CASES:
        place, entry = case.place, case.entry
        if place.path in STEP:
            feature = Feature(place.path, entry.name, place.slot.several)
            same = (tags(entry.provides), tags(entry.conflicts))
            norm = place.path[-1] == "normalization"
            alike.setdefault((place.path, same) if norm else feature, feature)
    return sorted(alike.values())


KNOWN = known()
BASE = tiny(horizon_kimg=0.032, diagnostics=[])
PARTS = 16
SOME = 3
"""How many parts of the pairs the slow tests try one by one; the campaign tries all others. The
rows hold every pair all the same."""

pytestmark = pytest.mark.xdist_group("together")


@once
def rows() -> list[frozenset[Feature]]:
    """Built anew whenever a technique is added: nobody has to remember to. Not before they are
    asked for: that takes a while."""
    return list(covering_array(KNOWN, BASE, seed=0))


def on(data: Path, features: frozenset[Feature]) -> Trial:
    trial = trial_of(features, BASE | {"data": {"packed": {"path": str(data)}}})
    assert trial is not None
    return slowly(trial)


def slowly(trial: Trial) -> Trial:
    """The trial, with a rate at which plain SGD trains whatever else is in it, and Adagrad, whose
    rate looking ahead takes for one of SGD. At the default one, a D of four channels that looks
    ahead at itself and has the hundred features of minibatch discrimination diverges in a few
    moves."""
    tree = trial.plain()
    for side in ("generator", "discriminator"):
        for name, knobs in tree[side]["optimizer"].items():
            if name in ("sgd", "sgd_momentum", "adagrad"):
                knobs["lr"] = 1e-5
    return Trial.read(tree)


def allowed() -> list[frozenset[Feature]]:
    """The fewest features that hold each pair that any trial may hold."""
    pairs = itertools.combinations(KNOWN, 2)
    return [row for pair in pairs if (row := together(pair, KNOWN, BASE)) is not None]


@pytest.mark.slow
def test_the_rows_hold_every_pair_that_is_allowed() -> None:
    held = {frozenset(pair) for row in rows() for pair in itertools.combinations(row, 2)}
    for pair in itertools.combinations(KNOWN, 2):
        if frozenset(pair) not in held:
            assert together(pair, KNOWN, BASE) is None, pair


@pytest.mark.parametrize("part", range(PARTS))
def test_rows_train_and_continue_as_if_they_had_never_stopped(
    part: int, told_digits: Path, cache: Path, tmp_path: Path
) -> None:
    for i, row in enumerate(rows()[part::PARTS]):
        continues(on(told_digits, row), cache, tmp_path / str(i))


def continues(trial: Trial, cache: Path, folder: Path) -> None:
    """A trial that is stopped half-way ends as one that is not."""
    whole = Training(trial, cache)
    while not whole.finished:
        measured = whole.advance()
        assert all(map(math.isfinite, [measured.score, *measured.losses.values()]))
    first = Training(trial, cache)
    Checkpoints(folder).save(first.advance().images, first.state_dict())
    torch.manual_seed(1234)
    again = Training(trial, cache)
    state = Checkpoints(folder).load()
    assert state is not None
    again.load_state_dict(state)
    while not again.finished:
        again.advance()
    assert list(differences(again.state_dict(), whole.state_dict())) == []


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=pytest.mark.slow if part < SOME else pytest.mark.campaign)
        for part in range(PARTS)
    ],
)
def test_every_pair_trains_by_itself(part: int, told_digits: Path, cache: Path) -> None:
    for row in allowed()[part::PARTS]:
        training = Training(on(told_digits, row), cache)
        for _ in range(2):
            leaves_the_other_alone(training)
        assert math.isfinite(training.advance().score), sorted(map(str, row))
