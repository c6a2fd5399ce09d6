"""ASHA's rungs."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.sweep.rungs import Plateau, Rungs, rungs_of

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
    assert rungs.scores == {(None, 30): [5.0]}
    assert rungs.judge(1, 10, 50.0)
    rungs.judge(0, 40, 1.0)
    assert rungs.scores == {(None, 30): [5.0], (None, 10): [50.0]}


def test_a_trial_is_judged_once_a_rung() -> None:
    rungs = Rungs((10,), 2)
    rungs.judge(0, 10, 1.0)
    assert not rungs.judge(1, 10, 2.0)
    assert rungs.judge(1, 20, 2.0)
    assert rungs.scores == {(None, 10): [1.0, 2.0]}


def test_a_baseline_is_neither_stopped_nor_judged_against() -> None:
    rungs = Rungs((10,), 3)
    assert rungs.judge(0, 10, 1.0, exempt=True)
    assert rungs.judge(1, 10, 100.0)


@pytest.mark.parametrize("first", [1.0, 2.0])
def test_no_rung_at_or_beyond_the_horizon(first: float) -> None:
    assert rungs_of(900, 100, first, 3) == ()


def test_trials_are_judged_among_those_of_their_bracket() -> None:
    rungs = Rungs((10,), 2)
    assert rungs.judge(0, 10, 1.0, bracket="hinge")
    assert rungs.judge(1, 10, 50.0, bracket="least_squares")
    assert not rungs.judge(2, 10, 60.0, bracket="least_squares")
    assert not rungs.judge(3, 10, 50.0, bracket="hinge")


@given(st.lists(st.tuples(st.floats(1, 1000), st.sampled_from("ab")), max_size=40))
def test_a_bracket_is_a_search_of_its_own(entries: list[tuple[float, str]]) -> None:
    together = Rungs((10,), 3)
    decided = [
        together.judge(n, 10, score, bracket=name) for n, (score, name) in enumerate(entries)
    ]
    for wanted in "ab":
        alone = Rungs((10,), 3)
        own = [n for n, (_, name) in enumerate(entries) if name == wanted]
        assert [alone.judge(n, 10, entries[n][0]) for n in own] == [decided[n] for n in own]


@pytest.mark.parametrize(
    ("bests", "over"),
    [
        ([9.0, 8.0, 7.0], False),
        ([9.0, 8.9, 8.85], False),  # too few to tell
        ([9.0, 8.9, 8.85, 8.82], True),  # 2 % in three evaluations
        ([9.0, 8.0, 7.99, 7.98], False),
        ([9.0, 8.0, 7.99, 7.98, 7.97], True),
    ],
)
def test_a_trial_has_converged_whose_best_hardly_falls(bests: list[float], over: bool) -> None:
    assert Plateau(patience=3, tolerance=0.025).reached(bests) == over


def test_without_tolerance_the_least_fall_is_one() -> None:
    assert Plateau(patience=1, tolerance=0.0).reached([5.0, 5.0])
    assert not Plateau(patience=1, tolerance=0.0).reached([5.0, 4.999])


def test_who_has_converged_stops_and_stands_at_the_rungs_to_come() -> None:
    rungs = Rungs((10, 30), 2, Plateau(patience=2, tolerance=0.01))
    assert [rungs.judge(0, step, 5.0) for step in (5, 10, 15)] == [True, True, False]
    assert rungs.scores == {(None, 10): [5.0], (None, 30): [5.0]}
    rungs.judge(1, 10, 4.0)
    assert not rungs.judge(2, 10, 6.0)
    assert rungs.judge(1, 30, 4.0)
    assert not rungs.judge(3, 30, 4.5)


def test_who_is_not_among_the_best_does_not_stand_at_later_rungs() -> None:
    rungs = Rungs((10, 30), 2, Plateau(patience=1, tolerance=0.01))
    rungs.judge(0, 10, 1.0)
    rungs.judge(1, 5, 9.0)
    assert not rungs.judge(1, 10, 9.0)
    assert (None, 30) not in rungs.scores


def test_a_baseline_may_converge_and_go_on() -> None:
    rungs = Rungs((), 2, Plateau(patience=1, tolerance=0.5))
    assert all(rungs.judge(0, step, 1.0, exempt=True) for step in range(9))
