"""What the report and the table of the best say once fresh seeds were run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.report.ranking import load, ranking, sentences
from sweeper.report.table import top_json, top_lines

from .folders import Make, trial
from .test_page import check

CONFIRM = {"confirm": {"top": 2, "seeds": 3}}


def again(of: int, *scores: float, role: str = "confirm", **more: Any) -> dict[str, Any]:
    return trial(*scores, role=role, of=of, **more)


@pytest.fixture
def folder(make: Make) -> Path:
    """A baseline and three trials, of which the second best by its score is best on fresh seeds,
    and one that broke once."""
    runs = [
        trial(40, 24, baseline="DCGAN <default>", heldout=25.0),
        trial(30, 7.0, heldout=7.5),
        trial(30, 8.0, heldout=8.5),
        trial(30, 9.0, state="stopped"),
    ]
    runs += [again(1, 12.0, heldout=12.2), again(2, 8.0, heldout=8.1), again(0, 24.0, heldout=24.1)]
    runs += [again(1, 11.5, heldout=11.9), again(2, 8.2, heldout=8.4), again(0, 25.0, heldout=25.3)]
    runs += [again(1, 11.9, state="diverged"), again(2, 8.1, heldout=8.2)]
    return make(runs, **CONFIRM)


def test_what_is_confirmed_comes_first_in_the_order_of_its_fresh_runs(folder: Path) -> None:
    sweep = load(folder)
    assert [t["trial"] for t in ranking(sweep.trials)] == [1, 2, 3, 0]
    assert [t["trial"] for t in sweep.ranking] == [2, 1, 3, 0]
    assert sentences(sweep)[:4] == [
        "t002 is best on fresh seeds, with fid_digits 8.23 (95 %: 7.94 to 8.53) held out over "
        "3 runs.",
        "t002 beats the baseline DCGAN <default>, which has 24.8: 3.01 times as much, "
        "2.85 to 3.19 at 95 % with all comparisons at once.",
        "1 of 3 runs of t001 broke.",
        sentences(sweep)[-1],
    ]


def test_the_page_begins_with_who_wins_and_how_surely(folder: Path) -> None:
    page = check(folder)
    for words in (
        "The best on fresh seeds",
        "7.94 to 8.53",
        "8.10, 8.40, 8.20",
        "Tukey and Kramer",
    ):
        assert words in page.text
    assert "DCGAN <default>" in page.text
    assert "One run each" not in page.text
    assert page.text.index("is best on fresh seeds") < page.text.index("What it cost")


def test_the_table_of_the_best_says_what_fresh_seeds_came_to(folder: Path) -> None:
    lines = top_lines(folder, 3)
    assert lines[0].split()[:3] == ["rank", "trial", "fid_digits"]
    assert "fresh seeds" in lines[0]
    assert lines[1].split()[:3] == ["1", "t002", "8.00"]
    assert "8.23 (7.94 to 8.53)" in lines[1]
    assert lines[-3].startswith("t002 is best on fresh seeds")
    plain = json.loads(top_json(folder, 3))
    assert [t["name"] for t in plain["trials"]] == ["t002", "t001", "t003"]
    assert [c["trial"] for c in plain["confirmed"]["order"]] == ["t002", "t001", "t000"]


def test_before_every_run_has_ended_the_search_ranks(make: Make) -> None:
    waiting = again(1, 99.0, state="running")
    runs = [trial(9.0), trial(8.0), again(0, 5.0), again(1, 50.0), again(0, 5.1), waiting]
    sweep = load(make(runs, confirm={"top": 2, "seeds": 2}))
    assert [t["trial"] for t in sweep.ranking] == [1, 0]
    assert sweep.confirmed is not None
    assert not sweep.confirmed.complete
    assert "nothing is told apart before" in check(sweep.folder).text


def test_what_a_search_repeats_is_ranked_by_its_mean(make: Make) -> None:
    runs = [trial(1.0), trial(6.0), again(0, 64.0, role="repeat"), again(1, 6.0, role="repeat")]
    sweep = load(make([*runs, trial(0.1), again(4, state="failed", role="repeat")]))
    assert [(t["trial"], t["score"]) for t in sweep.ranking] == [(1, 6.0), (0, pytest.approx(8.0))]
    check(sweep.folder)


def test_a_baseline_behind_all_others_is_ranked_by_its_score(make: Make) -> None:
    runs = [trial(10.0, baseline="DCGAN default"), trial(5.0), trial(6.0), trial(60.0)]
    runs += [again(1, 5.0), again(0, 10.2), again(1, 5.1)]
    sweep = load(make(runs, confirm={"top": 1, "seeds": 2}))
    assert [t["trial"] for t in sweep.ranking] == [1, 2, 0, 3]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([again(0, state="failed")] * 2, id="only failures"),
        pytest.param([again(0, 0.0), again(0, 0.0)], id="scores of nothing"),
        pytest.param([again(0, 1e300), again(0, 5e-324)], id="absurd scores"),
        pytest.param([again(0, 3.0)], id="one run"),
        pytest.param([again(0, float("inf"), state="diverged")], id="no number"),
    ],
)
def test_every_confirmation_there_can_be_has_a_page(make: Make, runs: list[Any]) -> None:
    page = check(make([trial(9.0), *runs], confirm={"top": 1, "seeds": 2}))
    assert "The best on fresh seeds" in page.text
