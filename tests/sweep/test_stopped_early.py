"""Early stopping of a whole sweep: its grace, brackets by a choice, and trials that converged."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from sweeper.ledger.ledger import Event, Ledger, Record
from sweeper.space.source import InputError
from sweeper.space.space import load
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import Plan, Settings, prepare
from sweeper.sweep.preview import rungs
from sweeper.sweep.proposer import frozen
from sweeper.sweep.rungs import Rungs
from tests.sweep.plans import SMALL, SPACES, Simulated


def planned(out: Path, *overrides: str) -> Plan:
    off = ("confirm.top=0", "search.balanced=0")
    return prepare(
        Settings(SPACES / "ttur.yaml", "digits", (*SMALL, *off, *overrides), 12, out=out)
    )


def test_brackets_are_by_a_choice_and_survive_a_driver_that_dies(tmp_path: Path) -> None:
    plan = planned(tmp_path, "budget.rungs.by=loss")
    with Ledger(tmp_path) as ledger:
        Simulated(stop_after=20).run(Sweep(plan, ledger))
        Simulated().run(Sweep(plan, ledger))
        judges = Rungs(plan.rungs, plan.factor)
        for event in ledger.events:
            if event.kind == "measured":
                record = ledger[event.trial]
                goes_on = judges.judge(
                    event.trial,
                    event.step,
                    event.data["best"],
                    exempt=record.whole,
                    bracket=record.params["loss"],
                )
                assert event.decision == ("continue" if goes_on else "stop")
        stopped = [r for r in ledger.records if r.state == "stopped"]
        assert stopped
        assert all(r.reason is not None and r.reason.endswith("of its loss") for r in stopped)
    assert plan.plain()["by"] == "loss"


def test_grace_is_counted_on_the_axis_of_the_budget(tmp_path: Path) -> None:
    assert planned(tmp_path, "budget.rungs.grace=0.048").rungs == (48,)
    assert planned(tmp_path).rungs == (16, 48)


def test_a_trial_that_has_converged_stops_and_is_learnt_from(tmp_path: Path) -> None:
    plan = planned(tmp_path, "budget.rungs={first: 0.999, plateau: {patience: 2, tolerance: 0.5}}")
    with Ledger(tmp_path) as ledger:
        Simulated().run(Sweep(plan, ledger))
        converged = [r for r in ledger.records if r.converged]
        assert converged
        assert ledger[0].state == "completed"
        for record in converged:
            assert record.state == "stopped"
            assert record.step < plan.horizon
            says = "fell by less than 0.5 of it in 2 evaluations"
            assert str(record.reason).endswith(says)
            shown = frozen(plan.space, record)
            assert shown.state is optuna.trial.TrialState.COMPLETE
            assert shown.value == record.score


def test_a_plan_says_who_is_stopped(tmp_path: Path) -> None:
    flat = "budget.rungs.plateau={patience: 2, tolerance: 0.5}"
    assert rungs(planned(tmp_path, "budget.rungs.by=loss", flat)) == (
        "rungs at 0.016, 0.048 of 0.144 kimg; the best 1/3 of each loss go on, each to the next "
        "one, or until its score falls by less than 0.5 of it in 2 evaluations"
    )
    assert rungs(planned(tmp_path)) == "rungs at 0.016, 0.048 of 0.144 kimg; the best 1/3 go on"
    none = planned(tmp_path, "budget.rungs=none")
    assert rungs(none) == "no rungs: every trial goes on to 0.144 kimg"


def test_an_architecture_that_is_searched_is_judged_among_its_like() -> None:
    data = {"digits": {}}
    budget = ["budget.max=9"]
    assert load(SPACES / "architectures.yaml", overrides=budget, data=data).brackets == (
        "architecture"
    )
    assert load(SPACES / "ttur.yaml", overrides=budget, data=data).brackets is None
    none = ["budget.max=9", "budget.rungs.by=none"]
    assert load(SPACES / "architectures.yaml", overrides=none, data=data).brackets is None


@pytest.mark.parametrize(
    ("override", "law"),
    [
        ("budget.rungs.by=los", "of a choice that is searched, but los is none"),
        ("budget.rungs.by=generator.optimizer.adam.lr", "but generator.optimizer.adam.lr is none"),
        ("budget.rungs.grace=12", "shorter than its budget, but got grace 12.0 of 9"),
    ],
)
def test_what_cannot_be_is_refused(override: str, law: str) -> None:
    with pytest.raises(InputError, match=law):
        load(SPACES / "ttur.yaml", overrides=["budget.max=9", override], data={"digits": {}})


def test_a_trial_that_was_stopped_at_a_rung_has_not_converged() -> None:
    record = Record(0, None, {}, {}, 0.0)
    record.add(Event(1, 0, 1, "ended", 1, None, "stopped", {"reason": "rung 1"}, 0.0))
    assert not record.converged
