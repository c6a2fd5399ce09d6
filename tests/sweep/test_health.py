"""The health of a sweep as it is told while it runs, and what it counts."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables
from sweeper.report.health import of_sweep
from sweeper.report.ranking import load
from sweeper.sweep.board import Board
from sweeper.sweep.executor import Sweep
from sweeper.sweep.live import PlainLines, frame
from sweeper.sweep.plan import Settings, prepare, reopen
from tests.sweep.plans import SMALL, Simulated
from tests.sweep.synthetic import HORIZON, PLAN, draw, fill, measure

SAYS = "no trial of 12 beats the baseline DCGAN default: centre the ranges on it, or search longer"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        fill(opened, tmp_path)
        yield opened


def more(ledger: Ledger, folder: Path, trials: int) -> Iterator[int]:
    """Trials that are worse than the baseline, one after another."""
    for _ in range(trials):
        number = ledger.add_trial(draw(len(ledger)), {"seed": 0}).number
        ledger.started(number)
        measure(ledger, folder, number, HORIZON)
        yield number


def test_a_finding_is_told_once_and_stands_below_the_table(ledger: Ledger, tmp_path: Path) -> None:
    out = io.StringIO()
    lines = PlainLines(PLAN, ledger, out)
    for number in more(ledger, tmp_path, 12):
        lines.observe(ledger.ended(number, "completed", "the full budget"))
    told = [line for line in out.getvalue().splitlines() if "beats the baseline" in line]
    assert len(told) == 1
    assert told[0].endswith(SAYS)  # as soon as it was so, of 17

    console = Console(width=120, file=io.StringIO())
    now = time.time()
    console.print(frame(Board(PLAN, ledger), now, now, 120, 40))
    assert "beats the baseline DCGAN default" in console.file.getvalue()  # type: ignore[attr-defined]


def test_it_is_looked_at_only_when_something_has_ended(ledger: Ledger) -> None:
    board = Board(PLAN, ledger)
    assert board.health() is board.health()


def test_the_report_says_what_the_board_says(ledger: Ledger, tmp_path: Path) -> None:
    for number in more(ledger, tmp_path, 12):
        ledger.ended(number, "completed", "the full budget")
    ledger.count("rejected: a law", 100)
    write_tables(ledger, tmp_path, "p")
    found = of_sweep(load(tmp_path))
    assert found == Board(PLAN, ledger).health()
    assert {finding.rule for finding in found} >= {"baseline", "rejected"}


def test_draws_that_broke_a_law_are_counted_as_they_are_drawn(tmp_path: Path) -> None:
    space = tmp_path / "narrow.yaml"
    space.write_text(
        "extends: base/dcgan.yaml\n"
        "trial: {generator: {optimizer: {adam: {lr: {loguniform: [1.0e-4, 1.0e-2]}}}}}\n"
        'constraints: ["generator.optimizer.adam.lr < 1.0e-3"]\n'
        "search: {method: random, trials: 8}\n"
    )
    plan = prepare(Settings(space, "digits", SMALL, 8, 0, None, tmp_path / "out"))
    plan.write()
    law = "rejected: the constraint 'generator.optimizer.adam.lr < 1.0e-3' does not hold"
    with Ledger(plan.folder) as ledger:
        Simulated(stop_after=6).run(Sweep(plan, ledger))
        early = ledger.counts.get(law, 0)
    with Ledger(plan.folder) as ledger:
        sweep = Sweep(reopen(plan.folder, None), ledger)
        Simulated().run(sweep)
        assert ledger.counts[law] == early + sweep.proposer.rejected.get(law[10:], 0)
        assert ledger.counts[law] > 0
