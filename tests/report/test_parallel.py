"""All trials as lines through their parameters."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from sweeper.report import parallel
from sweeper.report.ranking import load

from .folders import Make, trial


def specs(n: int) -> list[dict[str, Any]]:
    return [
        {"name": f"p{k}", "kind": "float", "log": False, "low": 0.0, "high": 1.0} for k in range(n)
    ]


def runs(n: int, of: int, seed: int = 0) -> list[dict[str, Any]]:
    """Trials whose score is the last parameter, and of which some are stopped."""
    draw = random.Random(seed)
    found = []
    for k in range(n):
        params = {f"p{i}": draw.random() for i in range(of)}
        state = "stopped" if k % 3 else "completed"
        found.append(trial(1 + params[f"p{of - 1}"], state=state, params=params))
    return found


def drawn(make: Make, trials: list[dict[str, Any]], *, upright: bool = True, **plan: Any) -> str:
    sweep = load(make(trials, **plan))
    names = {spec["name"]: spec["name"] for spec in sweep.parameters}
    return parallel.drawing(sweep, names, upright=upright) or ""


def places(svg: str, name: str) -> list[tuple[float, float]]:
    """The points of a trial's line."""
    line = next(line for line in svg.splitlines() if f"<title>{name}:" in line)
    path = re.search(r' d="M([^"]*)"', line)
    assert path is not None
    return [tuple(map(float, p.split())) for p in path[1].split("L")]  # type: ignore[misc]


def test_a_line_a_trial_and_an_axis_a_parameter(make: Make) -> None:
    svg = drawn(make, runs(30, 4), parameters=specs(4))
    assert svg.count("<title>t0") == 30
    assert svg.count('class="title"') == 5
    assert svg.count('class="cut"') == 20 - 1  # the best is one of them, and is marked as such
    assert svg.count('class="first"') == 1
    assert all(len(places(svg, f"t{n:03d}")) == 5 for n in range(30))


def test_low_stands_below_high_and_scores_are_the_last_axis(make: Make) -> None:
    low, high = ({"p0": v} for v in (0.1, 0.9))
    svg = drawn(make, [trial(2.0, params=low), trial(8.0, params=high)], parameters=specs(1))
    (x, below), (end, good) = places(svg, "t000")
    (_, above), (_, bad) = places(svg, "t001")
    assert below > above
    assert good > bad
    assert end > x


def test_lying_axes_go_from_left_to_right(make: Make) -> None:
    trials = [trial(2.0, params={"p0": 0.1}), trial(8.0, params={"p0": 0.9})]
    svg = drawn(make, trials, upright=False, parameters=specs(1))
    (left, top), (_, bottom) = places(svg, "t000")
    assert left < places(svg, "t001")[0][0]
    assert top < bottom


def test_a_logarithmic_range_is_drawn_as_one(make: Make) -> None:
    spec = {"name": "lr", "kind": "float", "log": True, "low": 1e-4, "high": 1e-2}
    trials = [trial(2.0 + k, params={"lr": 10.0 ** (k - 4)}) for k in range(3)]
    svg = drawn(make, trials, parameters=[spec])
    first, middle, last = (places(svg, f"t00{k}")[0][1] for k in range(3))
    assert middle == pytest.approx((first + last) / 2, abs=0.2)


def test_what_does_not_apply_stands_below_all_that_does(make: Make) -> None:
    trials = [trial(3.0, params={"p0": v}) for v in (0.2, 0.9, None)]
    svg = drawn(make, trials, parameters=specs(1))
    assert places(svg, "t002")[0][1] > max(places(svg, "t000")[0][1], places(svg, "t001")[0][1])
    assert ">–<" in svg


def test_baselines_are_marked_and_the_best_lies_on_top(make: Make) -> None:
    trials = [
        trial(5.0, params={"p0": 0.5}),
        trial(3.0, params={"p0": 0.2}),
        trial(9.0, baseline="DCGAN <default>", params={"p0": 0.3}),
    ]
    lines = drawn(make, trials, parameters=specs(1)).splitlines()
    assert 'class="base"' in next(line for line in lines if "DCGAN &lt;default&gt;" in line)
    order = [n for n, line in enumerate(lines) if "<title>" in line and "class=" in line]
    best = next(n for n, line in enumerate(lines) if 'class="first"' in line)
    assert best > next(n for n in order if 'class="s' in lines[n])


def test_of_too_many_parameters_those_are_drawn_that_tell_scores_apart(make: Make) -> None:
    folder = make(runs(60, 12, seed=1), parameters=specs(12))
    sweep = load(folder)
    names = [spec["name"] for spec in parallel.chosen(sweep)]
    assert len(names) == parallel.AXES
    assert "p11" in names
    assert names == sorted(names, key=lambda name: int(name[1:]))


def test_a_parameter_in_which_no_trial_differs_is_no_axis(make: Make) -> None:
    trials = [trial(3.0 + k, params={"p0": 0.5, "p1": 0.1 * k}) for k in range(3)]
    sweep = load(make(trials, parameters=specs(2)))
    assert [spec["name"] for spec in parallel.chosen(sweep)] == ["p1"]


def test_more_trials_than_can_be_told_apart_are_thinned(make: Make) -> None:
    svg = drawn(make, runs(120, 2), parameters=specs(2))
    assert svg.count("<title>t") == parallel.LINES
