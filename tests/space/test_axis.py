"""Budgets that are counted in something else than images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import Misfit, Trial
from sweeper.ledger.ledger import Ledger
from sweeper.space.axis import images_of
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.plan import Settings, prepare
from tests.space.conftest import Load
from tests.sweep.plans import SMALL

DIGITS = 1797


def one(space: Load, text: str) -> Trial:
    return space(f"trial: {text}").sample(None)  # type: ignore[arg-type]


def test_what_a_unit_of_each_axis_is(space: Load) -> None:
    packs = "tricks: {packing: {m: 2}}, batch: {size: 8}"
    trial = one(space, f"{{{packs}, schedule: {{alternating_update: {{d_steps: 3, g_steps: 2}}}}}}")
    assert images_of("kimg", trial) == 1000
    assert images_of("epochs", trial) == DIGITS
    assert images_of("d_steps", trial) == 16
    assert images_of("g_steps", trial) == 24
    assert (
        images_of("g_steps", one(space, "{schedule: simultaneous_update, batch: {size: 8}}")) == 8
    )
    with pytest.raises(Misfit, match="not of loss_statistics_balancing"):
        images_of("g_steps", one(space, "{schedule: loss_statistics_balancing}"))


@pytest.mark.parametrize(
    ("budget", "law"),
    [
        ("{axis: seconds, max: 60}", "would be another on every machine and after every interrup"),
        ("{axis: epochs, max: 0}", "max must be greater than 0"),
        ("{axis: d_step}", "axis must be 'kimg', 'epochs', 'd_steps' or 'g_steps'"),
        ("{axis: d_steps}", "the preset of the data counts budget.max in kimg, so set it in d_ste"),
    ],
)
def test_what_cannot_be_counted(refused: Callable[..., str], budget: str, law: str) -> None:
    assert law in refused(f"trial: {{}}\nbudget: {budget}")


@pytest.mark.parametrize("axis", ["d_steps", "g_steps"])
def test_trials_go_as_far_on_the_axis_whatever_their_batches(tmp_path: Path, axis: str) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "extends: base/dcgan.yaml\n"
        "trial:\n"
        "  batch: {size: {choice: [4, 8]}}\n"
        "  schedule: {alternating_update: {d_steps: {choice: [1, 3]}}}\n"
        "search: {method: grid}\n"
        f"budget: {{axis: {axis}, max: 18, rungs: {{first: 1/2, factor: 2}}}}\n"
    )
    smaller = [setting for setting in SMALL if not setting.startswith(("budget", "batch"))]
    plan = prepare(Settings(space, "digits", tuple(smaller), out=tmp_path / "results"))
    plan.write()
    with Ledger(plan.folder) as ledger:
        sweep = Sweep(plan, ledger)
        InlineExecutor().run(sweep)
        assert sweep.complete
        assert len(ledger.records) == 4
        ends = set[tuple[Any, ...]]()
        for record in ledger.records:
            last = record.measured[-1]
            ends.add((last.data[axis], record.state))
            size, moves = record.params["batch.size"], last.data["d_steps"]
            assert last.step == moves * size
        assert {end for end in ends if end[1] == "completed"} == {(18, "completed")}
        assert all(9 <= steps <= 12 for steps, state in ends if state == "stopped")
        assert len(plan.rungs) == 1
