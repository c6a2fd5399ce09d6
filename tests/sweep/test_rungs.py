"""ASHA's rungs."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.sweep.rungs import Rungs, rungs_of

curves = st.lists(st.floats(1, 1000), min_size=1, max_size=30)


def test_rungs_of_the_digits_preset() -> None:
    assert rungs_of(28_800, 3_200, 1 / 9, 3) == (3_200, 9_600)


@given(st.integers(1, 50), st.floats(0.01, 0.9), st.integers(2, 5))
def test_rungs_are_evaluations_below_the_horizon(every: int, first: float, factor: int) -> None:
    rungs = rungs_of(every * 9, every, first, factor)
    assert list(rungs) == sorted(set(rungs))
    assert all(rung % every == 0 and 0 < rung < every * 9 for rung in rungs)


@given(curves, st.integers(2, 4))
def test_the_best_so_far_always_goes_on(scores: list[float], factor: int) -> None:
    rungs = Rungs((10,), factor)
    best = math.inf
    for trial, score in enumerate(scores):
        go_on = rungs.judge(trial, 10, score)
        assert go_on or score > best
        best = min(best, score)


def test_about_one_in_factor_goes_on_of_many_in_random_order() -> None:
    rungs, scores = Rungs((10,), 3), list(range(300))
    random.Random(0).shuffle(scores)
    assert 90 <= sum(rungs.judge(trial, 10, float(s)) for trial, s in enumerate(scores)) <= 120


def test_a_later_score_never_fills_an_earlier_rung() -> None:
    rungs = Rungs((10, 30), 3)
    rungs.judge(0, 30, 5.0)
    assert rungs.scores == {30: [5.0]}
    assert rungs.judge(1, 10, 50.0)
    rungs.judge(0, 40, 1.0)
    assert rungs.scores == {30: [5.0], 10: [50.0]}


def test_a_trial_is_judged_once_a_rung() -> None:
    rungs = Rungs((10,), 2)
    rungs.judge(0, 10, 1.0)
    assert not rungs.judge(1, 10, 2.0)
    assert rungs.judge(1, 20, 2.0)
    assert rungs.scores == {10: [1.0, 2.0]}


def test_a_baseline_is_neither_stopped_nor_judged_against() -> None:
    rungs = Rungs((10,), 3)
    assert rungs.judge(0, 10, 1.0, exempt=True)
    assert rungs.judge(1, 10, 100.0)


@pytest.mark.parametrize("first", [1.0, 2.0])
def test_no_rung_at_or_beyond_the_horizon(first: float) -> None:
    assert rungs_of(900, 100, first, 3) == ()
