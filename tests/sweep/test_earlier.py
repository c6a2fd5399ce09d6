"""What an earlier sweep found is shown to the sampler of a new one, where it may be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.sweep.earlier import FILE, Known, kept
from sweeper.sweep.executor import Sweep
from sweeper.sweep.keeper import fetch_description
from sweeper.sweep.plan import Plan, Settings, prepare, reopen
from sweeper.sweep.storage import Storage
from tests.sweep.plans import SMALL, SPACES, Simulated, small


def swept(out: Path, trials: int) -> Plan:
    plan = small(out, trials=trials, name="first")
    with Ledger(plan.folder) as ledger:
        Simulated(faults={3: "nan", 4: "raise"}).run(Sweep(plan, ledger))
    return plan


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return swept(tmp_path_factory.mktemp("out"), 16)


def after(
    first: Plan, *overrides: str, trials: int = 4, name: str = "second", seed: int | None = 7
) -> Plan:
    settings = Settings(
        SPACES / "ttur.yaml", "digits", (*SMALL, *overrides), trials, seed, name, first.out
    )
    return prepare(replace(settings, earlier=first.folder))


def proposed(plan: Plan, folder: Path, n: int) -> list[dict[str, Any]]:
    folder.mkdir()
    with Ledger(folder) as ledger:
        sweep = Sweep(plan, ledger)
        for _ in range(n):
            sweep.next()
        return [record.params for record in ledger.records]


def test_the_sampler_learns_from_the_earlier_sweep_and_again_when_resumed(
    first: Plan, tmp_path: Path
) -> None:
    plan = after(first)
    assert plan.earlier is not None
    # The baseline sets what this space has no hole for; one raised, so that it says nothing.
    assert len(plan.earlier.known) == 15 - sum(plan.earlier.left_out.values()) + 1
    shown = proposed(plan, tmp_path / "shown", 4)
    alone = proposed(replace(plan, earlier=None), tmp_path / "alone", 4)
    assert shown[0] == alone[0]  # the baseline
    assert shown[1:] != alone[1:]
    plan.write()
    again = reopen(plan.folder, None)
    assert again.earlier == plan.earlier
    storage = Storage(str(tmp_path / "storage"))
    storage.put(plan.folder / FILE, FILE)
    fetch_description(storage, tmp_path / "another head")
    assert kept(tmp_path / "another head") == plan.earlier
    assert proposed(again, tmp_path / "again", 4) == shown
    assert json.loads((plan.folder / "sweep.json").read_text())["from"]["name"] == "first"


def test_nothing_is_drawn_once_more(tmp_path: Path) -> None:
    """Before there is enough to learn from, draws follow from the seed alone."""
    few = swept(tmp_path / "out", 3)
    plan = after(few, seed=None)
    with Ledger(few.folder, write=False) as ledger:
        drawn = [record.params for record in ledger.records if not record.baseline]
    assert not any(params in drawn for params in proposed(plan, tmp_path / "again", 3)[1:])
    assert after(few, seed=0, name="third").seed == 0


def test_a_wider_range_learns_and_a_fixed_setting_says_what_differs(first: Plan) -> None:
    wide = after(first, "generator.optimizer.adam.lr={loguniform: [1.0e-5, 1.0e-1]}", name="wide")
    assert wide.earlier is not None
    assert {k.number for k in wide.earlier.known} >= {1, 2, 3}
    with pytest.raises(InputError, match=r"none of the trials .*\n.* batch.size was 8, and here"):
        after(first, "batch.size=16")


def test_a_new_hole_takes_what_earlier_trials_had_there(first: Plan) -> None:
    plan = after(first, "batch.size={choice: [8, 16]}", name="hole")
    assert plan.earlier is not None
    assert {k.params["batch.size"] for k in plan.earlier.known} == {8}


def test_on_another_axis_each_trial_came_as_far_as_its_own_horizon_has_it(first: Plan) -> None:
    """The trials had as many images each; with more steps of D they are fewer steps of G."""
    by_images = after(first).earlier
    by_steps = after(first, "budget.axis=g_steps", "budget.max=18", name="steps").earlier
    assert by_images is not None
    assert by_steps is not None
    images = {k.number: k.curve[-1][0] for k in by_images.known if k.curve}
    moves = {k.number: k.params["schedule.alternating_update.d_steps"] for k in by_images.known}
    assert len(set(moves.values())) > 1
    assert {k.number: k.curve[-1][0] for k in by_steps.known if k.curve} == {
        number: pytest.approx(last / moves[number], abs=1) for number, last in images.items()
    }


@pytest.mark.parametrize(
    ("override", "law"),
    [
        ("evaluation.samples=17", r"differ in fake \(16 and 17\)"),
        ("search.method=random", "but search.method is random"),
    ],
)
def test_numbers_of_another_protocol_and_samplers_that_learn_nothing_are_refused(
    first: Plan, override: str, law: str
) -> None:
    with pytest.raises(InputError, match=law):
        after(first, override)


def test_what_is_no_results_folder_is_refused(first: Plan, tmp_path: Path) -> None:
    settings = Settings(SPACES / "ttur.yaml", "digits", SMALL, out=first.out, earlier=tmp_path)
    with pytest.raises(InputError, match="--from names a results folder"):
        prepare(settings)


@pytest.mark.parametrize("written", ["{}", "[]", "not JSON", '{"known": [{"number": 0}]}'])
def test_what_was_not_written_here_is_refused(tmp_path: Path, written: str) -> None:
    (tmp_path / FILE).write_text(written)
    with pytest.raises(InputError, match="not what sweeper wrote there"):
        kept(tmp_path)


def test_trials_count_up_to_the_horizon_of_this_sweep() -> None:
    known = Known(3, {"a": 1}, "completed", ((10, 5.0), (20, 4.0), (30, 2.0)))
    short, same, long = (known.record(horizon) for horizon in (20, 30, 90))
    assert [(r.state, r.score) for r in (short, same, long)] == [
        ("completed", 4.0), ("completed", 2.0), ("stopped", 2.0),
    ]  # fmt: skip
    broken = replace(known, state="diverged").record(20)
    assert (broken.state, broken.score) == ("diverged", 4.0)
