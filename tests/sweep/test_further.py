"""The best trials of a sweep, trained further."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables
from sweeper.report.ranking import load as read_results
from sweeper.report.ranking import sentences
from sweeper.space.source import InputError
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.further import Further, further
from sweeper.sweep.jobs import here
from sweeper.sweep.plan import Plan, reopen
from tests.sweep.plans import SPACES, Simulated, small
from tests.sweep.test_orders import order


def swept(out: Path, executor: InlineExecutor | Simulated, trials: int) -> Plan:
    plan = small(out, trials=trials, name="first")
    with Ledger(plan.folder) as ledger:
        executor.run(Sweep(plan, ledger))
    return plan


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A sweep that trained its baseline and one trial."""
    return swept(tmp_path_factory.mktemp("out"), InlineExecutor(), 2)


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """One that trained none."""
    return swept(tmp_path_factory.mktemp("out"), Simulated(), 8)


def test_the_best_goes_on_from_its_checkpoint_in_a_folder_of_its_own(first: Plan) -> None:
    plan = further(Further(first.folder, 1, "2x"))
    assert (plan.name, plan.trials, plan.horizon) == ("first-further", 1, 2 * first.horizon)
    assert plan.protocol == first.protocol
    assert plan.rungs == ()
    plan.write()
    with Ledger(first.folder, write=False) as ledger:
        best = min((r for r in ledger.records if not r.baseline), key=lambda r: r.score or 0)
        best_config = best.config
    with Ledger(plan.folder) as ledger:
        InlineExecutor().run(Sweep(reopen(plan.folder, None), ledger))
        (record,) = ledger.records
        write_tables(ledger, plan.folder, plan.protocol.hash)
    assert record.state == "completed"
    assert record.step == 2 * first.horizon
    kept = {"generator", "discriminator", "loss", "tricks", "schedule", "batch", "architecture"}
    assert {k: record.config[k] for k in kept} == {k: best_config[k] for k in kept}
    assert record.params == best.params
    start = json.loads((plan.folder / "trials/00000/start.json").read_text())
    assert start["checkpoint"].startswith(str(plan.folder))
    assert start["generator"]["taken"]
    assert not start["generator"]["missing"]
    said = f"Its trials are {best.name} of the sweep first, trained further from their checkpoints."
    assert said in sentences(read_results(plan.folder))


def test_what_goes_on_needs_the_sweep_before_it_no_more_and_may_be_moved(
    first: Plan, tmp_path: Path
) -> None:
    out = tmp_path / "results"
    shutil.copytree(first.out, out, ignore=shutil.ignore_patterns("first-further*"))
    plan = further(Further(out / "first", 1, "1x"))
    plan.write()
    moved = shutil.copytree(plan.folder, tmp_path / "moved" / plan.name)
    shutil.rmtree(out)
    with Ledger(moved) as ledger:
        InlineExecutor().run(Sweep(reopen(moved, None), ledger))
        assert ledger[0].state == "completed"


def test_several_go_on_afresh_and_none_is_stopped(curves: Plan) -> None:
    plan = further(Further(curves.folder, 3, "0.9", afresh=True, name="longer"))
    assert (plan.name, plan.trials, plan.horizon) == ("longer", 3, 900)
    plan.write()
    with Ledger(curves.folder, write=False) as ledger:
        searched = [r for r in ledger.records if not r.baseline and r.score is not None]
        best = sorted(searched, key=lambda r: r.score or 0)[:3]
        expected = [record.params for record in best]
    with Ledger(plan.folder) as ledger:
        Simulated().run(Sweep(plan, ledger))
        assert [r.params for r in ledger.records] == expected
        assert {r.state for r in ledger.records} == {"completed"}
        assert {r.config["init_from"]["checkpoint"] for r in ledger.records} == {None}
    again = further(Further(plan.folder, 1, "10x", afresh=True))
    assert again.horizon == 9000


@pytest.mark.parametrize(
    ("budget", "law"), [("tenfold", "--budget is a number"), ("-1x", "--budget"), ("0", "--budget")]
)
def test_a_budget_that_is_none_is_refused_and_leaves_nothing(
    curves: Plan, budget: str, law: str
) -> None:
    before = set(curves.out.iterdir())
    with pytest.raises(InputError, match=law):
        further(Further(curves.folder, 1, budget, afresh=True))
    assert set(curves.out.iterdir()) == before


def test_results_here_are_not_looked_for_on_a_cluster() -> None:
    with pytest.raises(InputError, match="--address local continues here"):
        here()
    with pytest.raises(InputError, match="so --from is a path from /, but got results/first"):
        order("run", str(SPACES / "ttur.yaml"), "--from", "results/first")
    assert (
        "--from=/mnt/first" in order("run", str(SPACES / "ttur.yaml"), "--from", "/mnt/first").words
    )


def test_trials_without_checkpoints_are_refused_by_name(curves: Plan, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no checkpoint: .* --afresh begins"):
        further(Further(curves.folder, 1, "10x"))
    with pytest.raises(InputError, match="continue names a results folder"):
        further(Further(tmp_path, 1, "10x"))
