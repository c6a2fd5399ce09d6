"""The order of trials and the numbers drawn from it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.report.ranking import (
    NoSweepError,
    agreement,
    answer,
    baselines,
    compute_share,
    counts,
    images_to,
    load,
    metrics_of,
    ranking,
    sentences,
    worker_seconds,
)

from .folders import Make, trial

scores = st.one_of(st.none(), st.floats(0, 1e6), st.sampled_from([1.0, 2.0]))


def rows(values: list[float | None], protocol: str = "p") -> list[dict[str, Any]]:
    return [
        {"trial": n, "score": v, "protocol": protocol, "baseline": None}
        for n, v in enumerate(values)
    ]


@given(st.lists(scores), st.randoms())
def test_a_ranking_is_every_scored_trial_once_in_order(values, random):
    shuffled = rows(values)
    random.shuffle(shuffled)
    order = [(row["score"], row["trial"]) for row in ranking(shuffled)]
    assert order == sorted((v, n) for n, v in enumerate(values) if v is not None)


@given(st.lists(scores, min_size=1))
def test_the_best_is_first_and_nothing_beats_it(values):
    first = next(iter(ranking(rows(values))), None)
    known = [v for v in values if v is not None]
    assert first is None if not known else first is not None and first["score"] == min(known)


def test_protocols_are_never_mixed():
    with pytest.raises(ValueError, match=r"one protocol are ranked together.*2: old, p"):
        ranking(rows([1.0]) + rows([2.0], "old"))


def test_a_trial_without_a_score_has_no_protocol_to_mix():
    assert len(ranking(rows([1.0]) + rows([None], "old"))) == 1


def test_the_answer(usual: Path):
    sweep = load(usual)
    found = answer(sweep)
    assert found.best is not None
    assert found.baseline is not None
    assert (found.best["trial"], found.baseline["trial"]) == (1, 0)
    assert found.best["heldout"] == 7.6
    assert found.ratio == pytest.approx(24 / 7)
    assert [t["trial"] for t in found.top] == [1, 2, 3]  # which broke at a better score
    assert found.images_to_baseline == 6400
    assert found.counts == counts(sweep.trials)
    assert found.counts == {
        "completed": 2,
        "stopped": 1,
        "diverged": 1,
        "diagnosed": 0,
        "failed": 1,
        "running": 0,
        "pending": 0,
    }
    assert compute_share(sweep) == pytest.approx((9 + 9 + 1 + 2) / (5 * 9))
    assert worker_seconds(sweep.trials) == 90 + 90 + 10 + 20
    assert images_to(sweep, sweep.trials[2], 1.0) is None


def test_the_answer_in_words(usual: Path):
    assert sentences(load(usual)) == [
        "Trial t001 is best, with fid_digits 7.00 (7.60 held out).",
        "The baseline DCGAN default reached 24.0, 3.43 times as much; the best trial was as good "
        "after 6.4 kimg as the baseline after 28.8.",
        "1 of 5 trials were stopped early: the sweep trained on 47 % of the images that training "
        "all of them to the end takes, in 3 min 30 s of worker time.",
    ]


def test_a_baseline_may_win(make: Make):
    sweep = load(make([trial(5, baseline="DCGAN default"), trial(9, state="stopped")]))
    assert sentences(sweep)[:2] == [
        "The baseline DCGAN default is best, with fid_digits 5.00.",
        "No trial of the search beat it.",
    ]


def test_baselines_come_by_score_and_the_unmeasured_last(make: Make):
    folder = make(
        [trial(state="failed", baseline="a"), trial(9, baseline="b"), trial(4, baseline="c")]
    )
    assert [t["baseline"] for t in baselines(load(folder).trials)] == ["c", "b", "a"]


def test_a_number_that_is_none_has_no_rank(make: Make):
    folder = make([trial(float("inf"), state="diverged"), trial(3.0)])
    assert [t["trial"] for t in ranking(load(folder).trials)] == [1]


def test_pending_trials_cost_nothing(make: Make):
    sweep = load(make([trial(*range(9, 0, -1)), trial(state="pending")]))
    assert compute_share(sweep) == 1.0


def test_a_folder_without_tables_is_an_empty_sweep(make: Make):
    folder = make([])
    for table in folder.glob("*.parquet"):
        table.unlink()
    sweep = load(folder)
    assert sweep.trials == sweep.measurements == []
    assert sentences(sweep) == ["No trial has a score yet."]


def test_a_folder_without_a_plan_is_no_sweep(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path)


def test_the_answer_waits_for_no_drawing_library(usual: Path):
    heavy = "{'matplotlib', 'jinja2', 'PIL', 'torch', 'ray', 'mlflow', 'optuna'}"
    code = (
        "import sys, pathlib\n"
        "from sweeper.report.ranking import load, sentences\n"
        "assert sentences(load(pathlib.Path(sys.argv[1])))\n"
        f"print({heavy} & set(sys.modules) or 'light')"
    )
    command = [sys.executable, "-c", code, str(usual)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


def full(n: int, heldout: float | None, **metrics: float | None) -> dict[str, Any]:
    return {"trial": n, "heldout": heldout} | {f"metric.{k}": v for k, v in metrics.items()}


def test_metrics_agree_with_the_distance_by_rank() -> None:
    rows = [full(n, 10.0 - n, kid=100.0 - n**3, recall=0.1 * n, same=1.0) for n in range(5)]
    rows.append(full(5, None, kid=0.0, recall=None, same=2.0))
    assert agreement(rows) == pytest.approx({"kid": 1.0, "recall": -1.0})
    assert metrics_of(rows) == ["kid", "recall", "same"]
    assert agreement(rows[:4]) == {}
    gone = [full(n, float(n), kid=None if n else 1.0) for n in range(9)]
    assert agreement(gone) == {}


@pytest.mark.parametrize("file", ["sweep.json", "trials.parquet", "measurements.parquet"])
def test_a_file_that_is_torn_is_named(make: Make, file: str) -> None:
    folder = make([trial(0)])
    (folder / file).write_bytes((folder / file).read_bytes()[:9])
    with pytest.raises(NoSweepError, match=rf"{file}: this is not what sweeper wrote there"):
        load(folder)
