"""Techniques of the training step together: every two of them that may be, in some trial."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from sweeper.config import Trial
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.verify.contracts import tiny
from tests.contracts.cases import CASES
from tests.contracts.pairs import STEP, Feature, covering_array, together, trial_of
from tests.contracts.same import differences, leaves_the_other_alone

KNOWN = sorted(
    {
        Feature(case.place.path, case.entry.name, case.place.slot.several)
        for case in CASES
        if case.place.path in STEP
    }
)
BASE = tiny(horizon_kimg=0.032, diagnostics=[])
ROWS = list(covering_array(KNOWN, BASE, seed=0))
"""Built anew whenever a technique is added: nobody has to remember to."""


def on(data: Path, features: frozenset[Feature]) -> Trial:
    trial = trial_of(features, BASE | {"data": {"packed": {"path": str(data)}}})
    assert trial is not None
    return trial


def allowed() -> list[frozenset[Feature]]:
    """The fewest features that hold each pair that any trial may hold."""
    pairs = itertools.combinations(KNOWN, 2)
    return [row for pair in pairs if (row := together(pair, KNOWN, BASE)) is not None]


def test_the_rows_hold_every_pair_that_is_allowed() -> None:
    held = {frozenset(pair) for row in ROWS for pair in itertools.combinations(row, 2)}
    for pair in itertools.combinations(KNOWN, 2):
        if frozenset(pair) not in held:
            assert together(pair, KNOWN, BASE) is None, pair


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_a_row_trains_and_continues_as_if_it_had_never_stopped(
    row: frozenset[Feature], large_digits: Path, cache: Path, tmp_path: Path
) -> None:
    trial = on(large_digits, row)
    whole = Training(trial, cache)
    while not whole.finished:
        measured = whole.advance()
        assert all(map(math.isfinite, [measured.score, *measured.losses.values()]))
    first = Training(trial, cache)
    Checkpoints(tmp_path).save(first.advance().images, first.state_dict())
    torch.manual_seed(1234)
    again = Training(trial, cache)
    state = Checkpoints(tmp_path).load()
    assert state is not None
    again.load_state_dict(state)
    while not again.finished:
        again.advance()
    assert list(differences(again.state_dict(), whole.state_dict())) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(16))
def test_every_pair_trains_by_itself(part: int, large_digits: Path, cache: Path) -> None:
    for row in allowed()[part::16]:
        training = Training(on(large_digits, row), cache)
        for _ in range(2):
            leaves_the_other_alone(training)
        assert math.isfinite(training.advance().score), sorted(map(str, row))
