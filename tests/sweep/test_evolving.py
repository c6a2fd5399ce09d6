"""NSGA-II: generations that follow from the ledger, and more than one thing that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import optuna
import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.space.space import load
from sweeper.sweep.executor import Sweep
from sweeper.sweep.objectives import POPULATION
from sweeper.sweep.plan import Plan, Settings, prepare
from sweeper.sweep.proposer import Proposer, project
from tests.sweep.plans import SMALL, SPACES, Simulated

OURS = ("search.method=nsga2", "search.balanced=0", "confirm.top=0", "budget.rungs=none")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    out = tmp_path_factory.mktemp("out")
    settings = (*SMALL, *OURS, "objective.beside=[cost]")
    return prepare(Settings(SPACES / "ttur.yaml", "digits", settings, 4 * POPULATION, out=out))


def test_generations_get_better_and_are_a_function_of_the_ledger(
    plan: Plan, tmp_path: Path
) -> None:
    with Ledger(tmp_path) as ledger:
        sweep = Sweep(plan, ledger)
        Simulated(concurrency=4, faults={5: "nan", 9: "raise"}).run(sweep)
        assert sweep.complete
        scores = [r.score for r in ledger.records if r.state == "completed" and r.score]
        assert len(scores) == len(ledger.records) - 2
        assert mean(scores[-POPULATION:]) < 0.9 * mean(scores[:POPULATION])
        due = replace(plan.agenda, trials=plan.trials + 1).due(ledger.records)
        assert due is not None
        made = Proposer(plan.space, plan.probe, plan.seed).propose(due, ledger.records)
        assert made == sweep.proposer.propose(due, ledger.records)
        small = tmp_path / "small"
        small.mkdir()
    with Ledger(small) as ledger:
        Simulated().run(Sweep(replace(plan, trials=3), ledger))
        project(plan.space, ledger, small)
    storage = optuna.storages.RDBStorage(f"sqlite:///{small / 'study.sqlite'}")
    study = optuna.load_study(study_name=small.name, storage=storage)
    assert len(study.directions) == 2
    assert len(study.trials) == 3
    storage.engine.dispose()


def test_without_rungs_every_trial_goes_all_the_way(plan: Plan) -> None:
    assert plan.rungs == ()
    assert plan.plain()["rungs"] == []
    assert plan.space.brackets is None


@pytest.mark.parametrize(
    ("settings", "law"),
    [
        (["search.method=nsga2"], "nsga2 compares trials that went all the way, but rungs stop"),
        (["objective.beside=[cost]"], "only nsga2 looks at anything, but method is tpe"),
        ([*OURS, "objective.beside=[recall]"], "recall is measured by precision_recall, which"),
    ],
)
def test_what_nsga2_needs(settings: list[str], law: str) -> None:
    with pytest.raises(InputError, match=law):
        load(SPACES / "ttur.yaml", overrides=["budget.max=9", *settings], data={"digits": {}})
