"""What a budget is read in, and who wins where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables
from sweeper.report import curves
from sweeper.report.axes import Axis, axes, rungs, warning, winners
from sweeper.report.ranking import Sweep, load

from .folders import PLAN, Make, trial
from .test_page import check


def measured(folder: Path, *runs: dict[str, Any], **plan: Any) -> Sweep:
    """A sweep of runs that were measured at four places, with what each measurement costs."""
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(PLAN | {"rungs": [6400]} | plan))
    with Ledger(folder) as ledger:
        for run in runs:
            number = ledger.add_trial({"loss": "hinge"}, run.get("config", {}), None).number
            ledger.started(number)
            for n, score in enumerate(run["scores"], 1):
                about = {
                    "best": min(run["scores"][:n]),
                    "seconds": run.get("seconds", 10.0) * n,
                    "images_per_second": 320.0,
                    "losses": {},
                }
                if "d_steps" in run:
                    about |= {"d_steps": run["d_steps"] * n, "g_steps": run["g_steps"] * n}
                images = run.get("images", 3200) * n
                ledger.measured(number, 1, images, score, "continue", about)
            ledger.ended(number, "completed", "it ended")
        write_tables(ledger, folder, "p")
    return load(folder)


QUICK = {"scores": (9.0, 8.0, 7.0, 6.0), "seconds": 5.0, "d_steps": 100, "g_steps": 100}
SLOW = {"scores": (9.0, 8.5, 6.5, 5.0), "seconds": 20.0, "d_steps": 100, "g_steps": 20}


def by_key(sweep: Sweep) -> dict[str, Axis]:
    return {axis.key: axis for axis in axes(sweep)}


def test_every_measurement_has_its_place_on_every_axis(tmp_path: Path) -> None:
    sweep = measured(tmp_path / "r", QUICK, SLOW)
    assert list(by_key(sweep)) == ["kimg", "epochs", "d_steps", "g_steps", "seconds"]
    last = sweep.measured(sweep.trials[1])[-1]
    places = {key: axis.at(last) for key, axis in by_key(sweep).items()}
    assert places == {
        "kimg": 12.8,
        "epochs": pytest.approx(12_800 / 1797),
        "d_steps": 400,
        "g_steps": 80,
        "seconds": 80.0,
    }


def test_the_sweeps_own_axis_comes_first_and_unknown_ones_are_left_out(tmp_path: Path) -> None:
    sweep = measured(tmp_path / "r", QUICK, SLOW, axis="g_steps")
    assert axes(sweep)[0].key == "g_steps"
    other = measured(tmp_path / "o", {"scores": (3.0,)}, data={"name": "unknown"})
    assert list(by_key(other)) == ["kimg", "seconds"]


def test_epochs_are_of_what_is_trained_on(tmp_path: Path) -> None:
    run = QUICK | {"config": {"evaluation": {"held_out": 0.5}}}
    sweep = measured(tmp_path / "r", run)
    first = sweep.measurements[0]
    assert by_key(sweep)["epochs"].at(first) == pytest.approx(2 * 3200 / 1797)


def test_another_winner_on_another_axis_is_told(tmp_path: Path) -> None:
    found = winners(measured(tmp_path / "r", QUICK, SLOW))
    told = {w.axis.key: (w.trial["trial"], w.score, w.other) for w in found}
    # Within 20 s the slow one has been measured once, and within its 80 steps of G the quick one
    # has not been measured at all.
    assert told["kimg"] == (1, 5.0, 5.0)
    assert told["d_steps"] == (1, 5.0, 5.0)
    assert told["seconds"] == (0, 6.0, 9.0)
    assert told["g_steps"] == (1, 5.0, 5.0)
    assert warning(found) == (
        "The winner changes with the axis: by images it is t001, by time (20 s) it is t000."
    )
    page = check(tmp_path / "r")
    assert page.text.count("The winner changes with the axis") == 1


def test_no_warning_where_the_same_trial_wins_everywhere(tmp_path: Path) -> None:
    better = SLOW | {"scores": (8.0, 7.0, 6.0, 5.0), "seconds": 5.0, "g_steps": 100}
    assert warning(winners(measured(tmp_path / "r", QUICK, better))) == ""
    assert "The winner changes" not in check(tmp_path / "r").text


def test_nobody_wins_where_one_trial_alone_was_trained_to_the_end(make: Make) -> None:
    assert winners(load(make([trial(9.0, 8.0), trial(7.0, state="stopped")]))) == []


def test_rungs_are_drawn_where_all_were_judged_at_one_place(tmp_path: Path) -> None:
    sweep = measured(tmp_path / "r", QUICK, SLOW)
    found = {key: rungs(sweep, axis) for key, axis in by_key(sweep).items()}
    assert found["kimg"] == [(1, 6.4)]
    assert found["d_steps"] == [(1, 200)]
    assert found["g_steps"] == found["seconds"] == []


def test_a_rung_of_another_axis_is_where_each_trial_comes_to_it(tmp_path: Path) -> None:
    """Of a horizon of 28.8 kimg in the plan, a trial's own of 14.4 is as far."""
    half = {"config": {"horizon_kimg": 14.4}, "images": 1600}
    runs = [QUICK | {"config": {"horizon_kimg": 28.8}}, SLOW | half]
    sweep = measured(tmp_path / "r", *runs, axis="d_steps")
    found = {key: rungs(sweep, axis) for key, axis in by_key(sweep).items()}
    assert found["d_steps"] == [(1, 200)]
    assert found["kimg"] == []


def test_curves_are_drawn_at_their_places(tmp_path: Path) -> None:
    sweep = measured(tmp_path / "r", QUICK, SLOW)
    drawn = {
        key: curves.drawing(sweep, axis, wide=True) or "" for key, axis in by_key(sweep).items()
    }
    assert all(svg.count("<title>t00") == 2 for svg in drawn.values())
    assert len(set(drawn.values())) == len(drawn)
    # On the axis of time the quick one ends at a quarter of it.
    path = next(line for line in drawn["seconds"].splitlines() if "<title>t000" in line)
    ends = [float(p.split()[0]) for p in path.split('d="M')[1].split('"')[0].split("L")]
    whole = 960 - 160 - curves.LEFT
    assert ends[-1] == pytest.approx(curves.LEFT + whole / 4, abs=0.1)


def test_the_axes_are_switched_without_a_script(tmp_path: Path) -> None:
    measured(tmp_path / "r", QUICK, SLOW)
    page = check(tmp_path / "r")
    for key in ("kimg", "epochs", "d_steps", "g_steps", "seconds"):
        assert f'id="axis-{key}"' in page.source
        assert f"#axis-{key}:checked ~ .by-{key}" in page.source
    assert page.source.count('type="radio"') == 5
    assert page.source.count(" checked>") == 1
