"""Ablations: the winner with one choice taken back, in the same ledger, and what it shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger, Record
from sweeper.ledger.tables import write_tables
from sweeper.report.ablation import ablation, ablation_json, ablation_lines, cells
from sweeper.report.page import write_report
from sweeper.report.ranking import load
from sweeper.space.ablation import NOTHING, choices, taken_back
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace
from sweeper.space.space import load as load_space
from sweeper.sweep.ablation import ablating
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import Plan, Settings, prepare, reopen
from tests.sweep.plans import SMALL, Simulated

SPACE = """
extends: base/dcgan.yaml
trial:
  generator: {optimizer: {adam: {lr: {loguniform: [1.0e-4, 1.0e-2]}}}}
  discriminator:
    optimizer: {adam: {lr: {ratio_of: generator.optimizer.adam.lr, loguniform: [0.25, 8]}}}
  loss: {choice: [hinge, non_saturating, {least_squares: {coding: {choice: [zero_one, pearson]}}}]}
  regularizers: {r1_penalty: {maybe: {gamma: {loguniform: [0.1, 10]}}}}
  tricks: {ema: {half_life_kimg: 1.0}}
baselines:
  - {name: plain, generator.optimizer.adam.lr: 2.0e-4, discriminator.optimizer.adam.lr: 2.0e-4,
     loss: non_saturating, tricks.ema: false}
search: {trials: 5, method: random}
"""
WINNER = {
    "generator.optimizer.adam.lr": 2e-3,
    "discriminator.optimizer.adam.lr.ratio": 2.0,
    "loss": "least_squares",
    "loss.least_squares.coding": "pearson",
    "regularizers.r1_penalty": True,
    "regularizers.r1_penalty.gamma": 1.0,
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "ablated.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="module")
def space(file: Path) -> SearchSpace:
    return load_space(file, overrides=["budget.max=9"], data={"digits": {}})


def test_each_choice_that_is_not_the_baselines_is_one(space: SearchSpace) -> None:
    assert choices(space, WINNER, space.baselines[0]) == [
        "generator.optimizer.adam.lr",
        "discriminator.optimizer.adam.lr.ratio",
        "loss",
        "regularizers.r1_penalty",
        "tricks.ema",
    ]
    params, _ = space.baseline(space.baselines[0])
    assert choices(space, params, space.baselines[0]) == ["tricks.ema"]  # of a trial with that


def test_taking_one_back_changes_it_and_what_hangs_on_it_alone(space: SearchSpace) -> None:
    base = space.baselines[0]
    params, trial = taken_back(space, WINNER, base, NOTHING)
    assert params == WINNER
    whole = trial.plain()
    assert whole["discriminator"]["optimizer"]["adam"]["lr"] == pytest.approx(4e-3)

    params, trial = taken_back(space, WINNER, base, "loss")
    assert params == {k: v for k, v in WINNER.items() if "coding" not in k} | {
        "loss": "non_saturating"
    }
    plain = trial.plain()
    assert list(plain["loss"]) == ["non_saturating"]
    assert {**plain, "loss": whole["loss"]} == whole

    _, trial = taken_back(space, WINNER, base, "generator.optimizer.adam.lr")
    plain = trial.plain()
    rates = [plain[p]["optimizer"]["adam"]["lr"] for p in ("generator", "discriminator")]
    assert rates == pytest.approx([2e-4, 4e-4])  # the ratio is a choice of its own

    params, trial = taken_back(space, WINNER, base, "tricks.ema")
    assert params == WINNER
    assert {**trial.plain(), "tricks": whole["tricks"]} == whole
    assert "ema" not in trial.plain()["tricks"]


def test_a_branch_that_the_baseline_takes_is_taken_as_it_does(space: SearchSpace) -> None:
    with_r1 = type(space.baselines[0])("r1", {"regularizers.r1_penalty.gamma": 5.0})
    without = {k: v for k, v in WINNER.items() if "r1" not in k} | {
        "regularizers.r1_penalty": False
    }
    params, trial = taken_back(space, without, with_r1, "regularizers.r1_penalty")
    assert params["regularizers.r1_penalty.gamma"] == 5.0
    assert trial.plain()["regularizers"]["r1_penalty"]["gamma"] == 5.0


@pytest.fixture(scope="module")
def begun(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of curves that is not complete."""
    out = tmp_path_factory.mktemp("results")
    plan = prepare(Settings(file, "digits", SMALL, 5, 0, None, out))
    run(plan, stop_after=3)
    return out


@pytest.fixture
def plan(begun: Path, tmp_path: Path) -> Plan:
    """The same, complete."""
    shutil.copytree(begun, tmp_path / "results", symlinks=True)
    whole = reopen(tmp_path / "results" / "ablated", None)
    run(whole)
    return whole


def run(plan: Plan, stop_after: int | None = None) -> list[Record]:
    plan.write()
    with Ledger(plan.folder) as ledger:
        Simulated(stop_after=stop_after).run(Sweep(plan, ledger))
        write_tables(ledger, plan.folder, plan.protocol.hash)
        return ledger.records


def again(plan: Plan, seeds: int = 2, *, say: Callable[[str], None] = print) -> Plan:
    return ablating(reopen(plan.folder, None), seeds, None, None, say)


def test_an_ablation_is_run_in_the_same_ledger_and_goes_on_where_it_was(
    plan: Plan,
) -> None:
    ablated = again(plan)
    assert ablated.ablation is not None
    paths, of = ablated.ablation.paths, ablated.ablation.of
    assert paths[0] == NOTHING  # since nothing was confirmed, the winner has no fresh seeds
    run(ablated, stop_after=20)
    assert again(plan).ablation == ablated.ablation  # asking again is going on
    records = run(reopen(plan.folder, None))
    runs = [r for r in records if r.role == "ablation"]
    assert len(runs) == 2 * len(paths) == ablated.agenda.runs - 5
    assert {r.of for r in runs} == {of}
    assert all(r.state == "completed" and r.whole for r in runs)
    assert len({r.config["seed"] for r in records}) == len(records)
    winner = records[of]
    for record, path in zip(runs, paths * 2, strict=True):
        differing = {k for k in record.params if record.params[k] != winner.params.get(k)}
        assert path in differing or path in (NOTHING, "tricks.ema")

    three = again(plan, 3)
    assert three.ablation is not None
    assert len(run(three)) == len(records) + len(paths)  # nothing is run twice
    assert len(run(again(plan, 3))) == len(records) + len(paths)


def test_the_table_says_what_each_choice_is_worth(plan: Plan) -> None:
    run(again(plan, 3))
    found = ablation(load(plan.folder))
    assert found is not None
    rows = {row.path: row for row in found.rows}
    assert found.by == "heldout"
    # The curves depend on G's rate and nothing else, and have no noise.
    lr = rows["generator.optimizer.adam.lr"]
    assert lr.runs == 3
    assert lr.change is not None
    assert lr.says == ("the choice helps" if lr.change.difference > 0 else "the choice hurts")
    ema = rows["tricks.ema"]
    assert (ema.was, ema.now) == (True, False)
    others = [row for path, row in rows.items() if path not in ("", "everything", lr.path)]
    assert others
    assert all(row.says == "not enough evidence" for row in others)
    lines = ablation_lines(plan.folder)
    assert lines[0].split()[:2] == ["taken", "back"]
    assert len(lines) == len(cells(found, load(plan.folder)))
    plain = json.loads(ablation_json(plan.folder))
    assert [row["path"] for row in plain["rows"]] == list(rows)
    assert "What each choice of the winner is worth" in write_report(plan.folder).read_text()


def test_what_cannot_be_ablated_is_said(begun: Path, plan: Plan) -> None:
    with pytest.raises(InputError, match="complete sweep, but this one is not"):
        ablating(reopen(begun / "ablated", None), 2, None, None, print)
    opened = reopen(plan.folder, None)
    with pytest.raises(InputError, match="--to is a baseline of the sweep, but got 'plan'; did"):
        ablating(opened, 2, "plan", None, print)
    with pytest.raises(InputError, match="--trial is a trial of the search"):
        ablating(opened, 2, None, "t099", print)


def test_a_trial_that_began_from_another_is_not_ablated(plan: Plan) -> None:
    with Ledger(plan.folder) as ledger:
        first = ledger.records[1]
        config = {**first.config, "init_from": {"checkpoint": "elsewhere"}}
        number = ledger.add_trial(first.params, config).number
        ledger.started(number)
        ledger.ended(number, "completed", "the full budget")
    with pytest.raises(InputError, match="t005 was begun from another trial"):
        ablating(reopen(plan.folder, 6), 2, None, "t005", print)


def test_a_sweep_that_was_not_ablated_has_no_table(plan: Plan) -> None:
    assert ablation_lines(plan.folder) == []
    assert json.loads(ablation_json(plan.folder))["rows"] == []
