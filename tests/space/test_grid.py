"""Grids: every combination once, of a branch only where it is taken."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from sweeper.space.grid import grid, size
from sweeper.space.holes import Choice, Float, Int, Maybe, Ratio, fill
from tests.space.conftest import Load

TREE = {
    "lr": Float(0.1, 0.3, step=0.1),
    "ratio": Ratio("lr", Float(1.0, 2.0, step=0.5)),
    "penalty": Maybe({"every": Int(1, 2)}),
    "loss": Choice(("a", "b"), ({"a": {"coding": Choice(("x", "y"), ("x", "y"))}}, {"b": {}})),
    "fixed": 3,
}


@given(st.integers(0, 1000))
def test_every_combination_is_there_once(seed: int) -> None:
    points = list(grid(TREE, seed))
    for point in points:
        fill(TREE, point)
        assert point.params == point.values
    assert (
        len({str(sorted(p.params.items(), key=str)) for p in points}) == size(TREE) == len(points)
    )
    assert size(TREE) == 3 * 3 * (2 + 1) * (2 + 1)
    assert {p.params["lr"] for p in points} == {0.1, 0.2, 0.3}


def test_the_seed_shuffles_it() -> None:
    first, again, other = ([p.values for p in grid(TREE, seed)] for seed in (0, 0, 1))
    assert first == again != other
    assert {str(p) for p in first} == {str(p) for p in other}


def test_a_range_without_steps_is_refused(refused: Callable[..., str]) -> None:
    told = refused(
        "trial: {generator: {optimizer: {adam: {lr: {uniform: [0.1, 0.2]}}}}}\n"
        "search: {method: grid}"
    )
    assert "a grid goes through every value, but generator.optimizer.adam.lr has no end" in told
    assert "space.yaml:2:" in told


def test_a_grid_that_has_no_end_in_sight_is_refused(refused: Callable[..., str]) -> None:
    sizes = "batch: {size: {int: [1, 2000]}}, prior: {gaussian_latent: {size: {int: [1, 2000]}}}"
    told = refused(f"trial: {{{sizes}}}\nsearch: {{method: grid}}")
    assert "a grid has 1,000,000 points at most, but this one has 4,000,000" in told


def test_a_grid_is_no_balanced_design(refused: Callable[..., str]) -> None:
    assert "a grid is balanced as it is" in refused(
        "trial: {}\nsearch: {method: grid, balanced: 0.5}"
    )


def test_a_grid_of_a_space(space: Load) -> None:
    searched = space(
        "trial:\n"
        "  loss: {choice: [hinge, {least_squares: {coding: {choice: [zero_one, pearson]}}}]}\n"
        "search: {method: grid}"
    )
    assert size(searched.tree) == 3
    losses = [str(searched.sample(point).plain()["loss"]) for point in grid(searched.tree, 0)]
    assert len(set(losses)) == 3
