"""What ``sweeper plan --probe`` says a sweep will cost, and what it measured for that."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.space.document import Confirm, Search
from sweeper.sweep import costs
from sweeper.sweep.executor import Sweep
from sweeper.sweep.forecast import Pace, forecast
from sweeper.sweep.pacing import Tried, tried
from sweeper.sweep.plan import Plan, Settings, prepare, silent
from tests.sweep.plans import SMALL, SPACES, Simulated


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    out = tmp_path_factory.mktemp("out")
    overrides = (*SMALL, "confirm={top: 2, seeds: 3}", "search.seeds=2", "resources.concurrent=3")
    return prepare(Settings(SPACES / "ttur.yaml", "digits", overrides, 6, 0, None, out))


@pytest.fixture(scope="module")
def tries(plan: Plan) -> list[Tried]:
    return tried(plan, silent, seconds=0.05)


def test_trials_are_trained_and_measured_as_a_sweep_would(plan: Plan, tries: list[Tried]) -> None:
    assert len(tries) == 4
    for one in tries:
        assert one.pace.images > 0
        assert one.pace.measuring > 0
        assert one.pace.starting > 0
        assert min(one.checkpoint, one.sheet, one.entry, one.values) >= 10
    baseline = plan.space.baseline(plan.space.baselines[0])[1]
    assert tries[0].trial == baseline
    assert not plan.folder.exists()


def test_a_sweep_is_counted_as_its_agenda_has_it(plan: Plan) -> None:
    shape = costs.shape_of(plan, costs.together(plan))
    # Six trials on two seeds each; the best two on three fresh ones, and the baseline on one more.
    assert (shape.first, shape.judged, shape.whole, shape.together) == (2, 10, 7, 3)
    assert shape.runs == plan.agenda.runs


def test_everything_is_told(
    plan: Plan, tries: list[Tried], monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(images=100.0, measuring=1.0, ending=2.0, starting=0.5)
    known = [replace(one, pace=pace) for one in tries]
    monkeypatch.setattr(costs, "tried", lambda plan, progress: known)
    for gain, said in ((1.6, True), (1.05, False), (None, False)):
        monkeypatch.setattr(costs, "faster", lambda plan, tries, gain=gain: gain)
        text = "\n".join(costs.costs(plan, 2.0, silent))
        assert ("in bfloat16 a trial goes 1.6 times as fast" in text) is said
    assert "19 runs, 3 at a time" in text
    assert re.search(r"expected: \S+ of work, \S+ on the clock, \d+% of the images", text)
    assert re.search(r"at worst: \S+ of work", text)
    assert re.search(r"\d\.\d\d at 2 for an hour of this machine", text)
    assert re.search(r"MLflow: 20 runs with about [\d,]+ values", text)
    assert re.search(r"checkpoints [\d.]+ MiB until it is complete", text)


def test_a_price_is_for_what_is_measured() -> None:
    done = CliRunner().invoke(app, ["plan", str(SPACES / "ttur.yaml"), "--price", "2"])
    assert done.exit_code == 2
    assert "costs are told with --probe" in done.output


def test_sweeps_take_what_was_said(plan: Plan, tmp_path: Path) -> None:
    """Of the images of full trials, in sweeps that draw at random."""
    search = Search(method="random", trials=24)
    space = replace(plan.space, search=search, confirm=Confirm())
    found = forecast(costs.shape_of(replace(plan, space=space, trials=24), 2), [Pace(1e3, 0.1, 0)])
    shares = []
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with Ledger(folder) as ledger:
            Simulated().run(Sweep(replace(plan, space=space, trials=24, seed=seed), ledger))
            shares.append(sum(r.step for r in ledger.records) / (24 * plan.horizon))
    assert found.at(0.1).share < fmean(shares) < found.at(0.9).share
