"""What a sweep is said to take, before it takes it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sweeper.sweep.forecast import Pace, Shape, forecast, simulated

PACE = Pace(images=100.0, measuring=2.0, ending=10.0, starting=1.0)
SHAPE = Shape(
    judged=0, first=3, whole=0, rungs=(100, 300), factor=3, horizon=900, every=100, together=1
)
FULL = 1 + 9 + 9 * 2 + 10
"""The seconds of one trial in full: its start, 900 images, nine measurements, and its end."""


def test_trials_that_nobody_stops_take_what_they_take() -> None:
    found = forecast(SHAPE, [PACE])
    for cost in (found.at(0.1), found.at(0.9), found.worst):
        assert cost.worker == pytest.approx(3 * FULL / 3600)
        assert cost.wall == pytest.approx(3 * FULL / 3600)
        assert (cost.measurements, cost.share) == (27, 1.0)


def test_workers_share_the_trials_and_wait_for_the_last_before_they_confirm() -> None:
    cost = forecast(replace(SHAPE, whole=1, together=2), [PACE]).worst
    assert cost.worker == pytest.approx(4 * FULL / 3600)
    assert cost.wall == pytest.approx(3 * FULL / 3600)  # two, one, and then the one that confirms


def test_the_worst_stops_nothing_and_goes_at_the_slowest_pace() -> None:
    slow = replace(PACE, images=10.0)
    found = forecast(replace(SHAPE, judged=30), [PACE, slow])
    assert found.worst.worker == pytest.approx(33 * (FULL + 81) / 3600)
    assert found.at(0.1).worker < found.at(0.5).worker < found.at(0.9).worker < found.worst.worker


def test_of_many_trials_one_in_so_many_goes_on_at_each_rung() -> None:
    """With one at a time: sum over n of max(n // 3, 1) / n at the first rung, about a third."""
    shape = replace(SHAPE, first=0, judged=3000)
    cost = simulated(shape, [PACE], random.Random(0), stop=True)
    expected = (2 / 3 * 100 + 2 / 9 * 300 + 1 / 9 * 900) / 900
    assert cost.share == pytest.approx(expected, rel=0.05)


def test_the_first_of_every_bracket_goes_on() -> None:
    one = replace(SHAPE, first=0, judged=12)
    each = replace(one, brackets=1000)
    assert forecast(each, [PACE]).at(0.5).share == 1.0
    assert forecast(one, [PACE]).at(0.5).share < 0.6
