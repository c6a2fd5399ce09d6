"""Points of a unit cube, and the draws that they stand for."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.space.holes import Choice, Float, Int, Maybe, fill
from sweeper.space.points import Point, sobol

TREE = {
    "lr": Float(1e-4, 1e-2, log=True),
    "weight": Maybe({"gamma": Float(0.0, 1.0)}),
    "steps": Int(1, 5),
    "loss": Choice(("a", "b"), ({"a": {"margin": Float(0.0, 2.0, step=0.5)}}, {"b": {}})),
}


def draws(n: int, seed: int = 0) -> list[Point]:
    points = list(islice(sobol(TREE, seed), n))
    for point in points:
        fill(TREE, point)
    return points


def test_every_range_is_spread_evenly_over_any_power_of_two() -> None:
    for power in (4, 6, 8):
        points = draws(2**power)
        for name in points[0].shares:
            cells = {int(point.shares[name] * 2**power) for point in points}
            assert len(cells) == 2**power
    options = [point.params["loss"] for point in points]
    assert options.count("a") == options.count("b")


def test_a_sequence_is_that_of_its_seed_however_far_it_is_followed() -> None:
    first, again = [p.params for p in draws(10)], [p.params for p in draws(200)]
    assert again[:10] == first
    assert len({str(params) for params in again}) == 200
    assert [p.params for p in draws(10, seed=1)] != first


def test_a_point_has_the_parameters_of_the_branches_it_takes() -> None:
    for point in draws(64):
        assert ("weight.gamma" in point.params) == point.params["weight"]
        assert ("loss.a.margin" in point.params) == (point.params["loss"] == "a")


@given(st.floats(0, 1, exclude_max=True))
def test_a_share_of_a_range_is_in_it(share: float) -> None:
    for hole in (Float(1e-5, 0.3, log=True), Float(-1.0, 1.0), Float(0.1, 0.7, step=0.1)):
        assert hole.low <= hole.quantile(share) <= hole.high
    for whole in (Int(1, 9, step=2), Int(1, 64, log=True), Int(0, 1)):
        assert whole.low <= whole.quantile(share) <= whole.high
        assert (whole.quantile(share) - whole.low) % whole.step == 0


def test_every_value_of_a_stepped_range_is_as_likely() -> None:
    shares = [(i + 0.5) / 700 for i in range(700)]
    found = [Float(0.1, 0.7, step=0.1).quantile(share) for share in shares]
    assert [found.count(value) for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)] == [100] * 7
    steps = [Int(1, 5).quantile(share) for share in shares]
    assert [steps.count(n) for n in range(1, 6)] == [140] * 5


def test_the_middle_of_a_logarithmic_range_is_its_geometric_mean() -> None:
    assert Float(1e-4, 1e-2, log=True).quantile(0.5) == pytest.approx(1e-3)
    assert Int(1, 64, log=True).quantile(0.5) == 6
