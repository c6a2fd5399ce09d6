"""Settings of early stopping on recorded curves: what they would have saved, and found."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.space.source import InputError
from sweeper.sweep.recorded import Curve, Recorded, recorded
from sweeper.sweep.replay import Plateau, Setting, replays, run, settings
from tests.report.folders import trial, write

NEVER = Setting(0.999, 2)


def curve(*scores: float, broken: bool = False, **params: Any) -> Curve:
    bests = tuple(min(scores[: k + 1]) for k in range(len(scores)))
    ends = len(scores) + broken
    stages = tuple(range(1, len(scores) + 1))
    return Curve(stages, bests, tuple(float(k + 1) for k in range(ends)), broken, params)


def rows(trials: Iterable[Iterable[float | None]]) -> list[dict[str, Any]]:
    return [
        {"trial": n, "images": 100 * (k + 1), "score": score, "seconds": 2.0 * (k + 1)}
        for n, scores in enumerate(trials)
        for k, score in enumerate(scores)
    ]


@given(
    st.lists(
        st.tuples(st.lists(st.floats(1, 1000), min_size=4, max_size=4), st.booleans()), min_size=1
    ),
    st.integers(1, 6),
)
def test_without_rungs_all_is_spent_and_the_best_is_found(
    trials: list[tuple[list[float], bool]], concurrent: int
) -> None:
    curves = [curve(*scores, broken=broken) for scores, broken in trials]
    ran = run(curves, NEVER, 4, concurrent)
    assert ran.cost == sum(c.costs[-1] for c in curves)
    assert ran.best == min((c.bests[-1] for c in curves if not c.broken), default=math.inf)


def test_one_in_two_goes_on_at_half_of_the_budget() -> None:
    curves = [curve(9, 9, 9, 9), curve(8, 8, 8, 2), curve(10, 10, 1, 1), curve(7, 7, 7, 7)]
    ran = run(curves, Setting(1 / 2, 2), 4, concurrent=1)
    # The third, best in the end, is stopped at two of four; so nothing better than 2 is found.
    assert (ran.cost, ran.best) == (4 + 4 + 2 + 4, 2)


def test_who_comes_first_to_a_rung_is_who_is_cheaper() -> None:
    slow = Curve((1, 2), (5.0, 5.0), (10.0, 20.0))
    quick = Curve((1, 2), (6.0, 6.0), (1.0, 2.0))
    assert run([slow, quick], Setting(1 / 2, 2), 2, concurrent=2).cost == 22
    assert run([slow, quick], Setting(1 / 2, 2), 2, concurrent=1).cost == 21


def test_brackets_and_plateaus_are_those_of_a_sweep() -> None:
    curves = [curve(1, 1, loss="a"), curve(9, 9, loss="b"), curve(8, 8, loss="a")]
    assert run(curves, Setting(1 / 2, 2, "loss"), 2, 1).cost == 2 + 2 + 1
    flat = [curve(5, 5, 5, 5), curve(5, 4, 3, 2)]
    assert run(flat, Setting(0.999, 2, None, Plateau(1, 0.01)), 4, 1).cost == 2 + 4


def test_the_score_of_who_broke_is_not_found() -> None:
    assert run([curve(9, 9), curve(1, broken=True)], NEVER, 2, 1).best == 9
    # Stopped before it would have broken, nobody knew.
    assert run([curve(9, 9), curve(10, broken=True)], Setting(1 / 2, 2), 2, 1).best == 9


def test_a_setting_that_stops_more_costs_less_and_an_interval_holds_its_mean() -> None:
    curves = tuple(
        curve(*(20 * math.exp(-k / (2 + n % 7)) + (5 * n) % 11 for k in range(9)))
        for n in range(30)
    )
    known = Recorded(curves, 9, 900, 30, "images")
    some, most, none = replays(known, [Setting(1 / 3, 2), Setting(1 / 9, 4), NEVER], 20, 2, seed=0)
    assert most.compute.mean < some.compute.mean < none.compute.mean == 1
    assert (none.regret.mean, none.found) == (0, 1)
    for each in (some, most):
        assert each.compute.low < each.compute.mean < each.compute.high
        assert 0 <= each.regret.low <= each.regret.mean <= each.regret.high


def test_tables_of_curves_are_read_alike(tmp_path: Path) -> None:
    measured = rows([[9.0, 8.0, 7.0]] * 5 + [[9.0, 8.0], [9.0, None]])
    pq.write_table(pa.Table.from_pylist(measured), tmp_path / "curves.parquet")
    with (tmp_path / "curves.csv").open("w") as file:
        table = csv.DictWriter(file, measured[0])
        table.writeheader()
        table.writerows(measured)
    known = recorded(tmp_path / "curves.parquet")
    assert known == recorded(tmp_path / "curves.csv")
    assert (len(known.curves), known.all, known.parts, known.unit) == (6, 7, 3, "seconds")
    assert known.curves[0] == Curve((1, 2, 3), (9.0, 8.0, 7.0), (2.0, 4.0, 6.0))
    assert known.curves[5] == Curve((1,), (9.0,), (2.0, 4.0), broken=True)


def test_of_a_sweep_the_trials_count_that_it_searched_and_did_not_stop(tmp_path: Path) -> None:
    whole = [trial(*([50.0 - n] * 9)) for n in range(5)]
    others = [
        trial(*([9.0] * 9), baseline="DCGAN default"),
        trial(9.0, state="stopped"),
        trial(9.0, 8.0, state="diverged"),
        trial(9.0, 8.0, state="diagnosed"),
        trial(9.0, state="failed"),
    ]
    known = recorded(write(tmp_path / "sweep", whole + others))
    assert (len(known.curves), known.all, known.parts) == (7, 9, 9)
    assert known.concurrent == 2
    diverged, diagnosed = known.curves[5:]
    assert (diverged.bests, diverged.costs) == ((9.0, 8.0), (10.0, 20.0))
    assert (diagnosed.bests, diagnosed.costs) == ((9.0,), (10.0, 20.0))
    assert diverged.broken
    assert diagnosed.broken
    assert known.curves[0].params["loss"] == "hinge"


def test_a_trial_whose_budget_is_fewer_images_is_known_in_full_with_them(tmp_path: Path) -> None:
    short = [trial(*([9.0] * 9), config={"horizon_kimg": 28.8}) for _ in range(4)]
    short.append(trial(9.0, 8.0, 7.0, config={"horizon_kimg": 9.6}))
    known = recorded(write(tmp_path / "sweep", short))
    assert len(known.curves) == 5
    assert known.curves[4].stages == (3, 6, 9)


def test_the_command_prints_a_table_and_the_same_as_json(tmp_path: Path) -> None:
    folder = write(tmp_path / "sweep", [trial(*([50.0 - n] * 9)) for n in range(6)])
    asked = ["replay", str(folder), "--first", "1/9", "--factor", "3", "--plateau", "2:0.1"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    head, row, _ = said.output.splitlines()
    assert head.split()[:4] == ["first", "factor", "by", "plateau"]
    assert row.split()[:4] == ["1/9", "3", "none", "2:0.1"]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert (found["known"], found["left_out"], len(found["settings"])) == (6, 0, 1)


@pytest.mark.parametrize(
    ("asked", "law"),
    [
        ({"firsts": ["2"]}, "--first: the first rung is at a share of the budget"),
        ({"firsts": ["a"]}, "but got a"),
        ({"plateaus": ["3"]}, "--plateau: a plateau is so many evaluations"),
        ({"plateaus": ["0:0.1"]}, "but got 0:0.1"),
        ({"bys": ["los"]}, "--by: .* but los is none of them: loss"),
    ],
)
def test_settings_that_cannot_be_are_refused(asked: dict[str, Any], law: str) -> None:
    known = Recorded((curve(1, 1, loss="a"),), 2, 900, 1, "images")
    given: dict[str, Any] = {
        "firsts": [],
        "graces": [],
        "factors": [],
        "bys": [],
        "plateaus": [],
    }
    with pytest.raises(InputError, match=law):
        settings(known, **(given | asked))


def test_grace_is_a_share_of_the_budget_and_settings_are_every_one_beside_every_other() -> None:
    known = Recorded((curve(1, 1, loss="a"),), 9, 9000, 1, "images", by="loss")
    tried = settings(known, [], [1.0], [2, 3], [], ["none", "2:0"])
    assert [(s.first, s.factor, s.by) for s in tried] == [
        (1 / 9, 2, "loss"), (1 / 9, 2, "loss"), (1 / 9, 3, "loss"), (1 / 9, 3, "loss"),
    ]  # fmt: skip
    assert [s.plateau for s in tried[:2]] == [None, Plateau(2, 0.0)]
    assert len(settings(known, [], [], [], [], [])) == 9


def test_what_holds_no_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a results folder, a Parquet file or a CSV file"):
        recorded(tmp_path / "nothing")
    (tmp_path / "a.csv").write_text("trial,images\n1,2\n")
    with pytest.raises(InputError, match="but score is missing"):
        recorded(tmp_path / "a.csv")
    pq.write_table(pa.Table.from_pylist(rows([[9.0, 8.0], [9.0]])), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="at least 5 of them, but there are 1 of 2"):
        recorded(tmp_path / "a.parquet")


def test_a_plan_that_is_torn_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{torn")
    with pytest.raises(InputError, match=r"sweep\.json: this is not what sweeper wrote there"):
        recorded(tmp_path)
