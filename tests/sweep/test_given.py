"""Trials that a space gives are the first of its search."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.space.space import load
from sweeper.sweep.agenda import Agenda, Due
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import Settings, prepare
from tests.sweep.plans import SMALL, SPACES, Simulated

GIVEN = "given=[{generator.optimizer.adam.lr: 0.002, schedule.alternating_update.d_steps: 2}]"


def test_what_is_given_comes_before_the_design_and_the_draws() -> None:
    space = load(
        SPACES / "ttur.yaml",
        overrides=["budget.max=9", "search.balanced=0.5", GIVEN],
        data={"digits": {}},
    )
    order = [Agenda(space, 6)._fresh(made) for made in range(6)]
    rows = [Due("balanced", index=i) for i in (0, 1)]
    assert order[:4] == [Due("baseline"), Due("search"), *rows]
    assert [due.role for due in order[4:]] == ["search", "search"]


def test_what_is_given_is_run_as_it_was_given(tmp_path: Path) -> None:
    plan = prepare(Settings(SPACES / "ttur.yaml", "digits", (*SMALL, GIVEN), 3, out=tmp_path))
    plan.write()
    with Ledger(plan.folder) as ledger:
        Simulated(concurrency=1).run(Sweep(plan, ledger))
        given = ledger[1]
    assert given.role == "search"
    assert given.params["generator.optimizer.adam.lr"] == 0.002
    assert given.config["schedule"]["alternating_update"]["d_steps"] == 2


def test_what_cannot_be_is_refused_where_it_is_given() -> None:
    with pytest.raises(InputError, match=r"given\.0.*batch.size"):
        load(
            SPACES / "ttur.yaml",
            overrides=["budget.max=9", "given=[{batch.size: -3}]"],
            data={"digits": {}},
        )
