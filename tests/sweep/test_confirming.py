"""A sweep that confirms its best: what is run, kept, shown and told of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeper.ledger.ledger import Ledger
from sweeper.sweep.answer import answer, answer_json
from sweeper.sweep.board import Board, ranked
from sweeper.sweep.drive import best
from sweeper.sweep.executor import Sweep
from sweeper.sweep.live import far, frame
from sweeper.sweep.plan import Plan, Settings, prepare
from sweeper.sweep.stopping import resume_line
from sweeper.sweep.tracking import Best, of_sweep, of_trial
from sweeper.sweep.trained import ranked as best_first

from .plans import SMALL, SPACES, Simulated

CONFIRM = ("confirm.top=2", "confirm.seeds=3", "search.balanced=0")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    out = tmp_path_factory.mktemp("confirming")
    plan = prepare(Settings(SPACES / "ttur.yaml", "digits", (*SMALL, *CONFIRM), 6, 0, None, out))
    plan.write()
    return plan


@pytest.fixture(scope="module")
def ledger(plan: Plan) -> Ledger:
    """The sweep, run: formulas in the place of networks."""
    with Ledger(plan.folder) as ledger:
        Simulated(concurrency=2).run(Sweep(plan, ledger))
    return Ledger(plan.folder, write=False)


def plain(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((plan.folder / "sweep.json").read_text())
    return found


def test_the_board_counts_the_runs_of_each_phase(plan: Plan, ledger: Ledger) -> None:
    board = Board(plain(plan), ledger)
    assert board.phases() == [("search", 6, 6), ("confirm", 8, 8)]
    assert (board.total, board.complete, board.share()) == (14, True, 1.0)
    assert far(board) == "search 6/6 · confirm 8/8"
    assert board.seconds_left(time.time()) == 0
    first = board.best()
    assert first is not None
    assert first.run_of is None


def test_a_sweep_on_its_way_says_what_is_to_come(plan: Plan, tmp_path: Path) -> None:
    half = Simulated(concurrency=1, stop_after=20)
    with Ledger(tmp_path) as ledger:
        sweep = Sweep(plan, ledger)
        half.run(sweep)
        board = Board(plain(plan), ledger)
        (_, ended, of), confirm = board.phases()
        assert (ended, of, confirm) == (sum(r.ended for r in board.rows), 6, ("confirm", 0, 8))
        assert not board.complete
        assert f"{ended} of 14 trials have ended" in resume_line(ledger, plan)
        assert not answer_json(plain(plan), ledger, tmp_path)["complete"]


def test_the_answer_is_what_fresh_seeds_say(plan: Plan, ledger: Ledger) -> None:
    found = answer_json(plain(plan), ledger, plan.folder)
    assert found["complete"]
    assert found["trials"] == 14
    assert found["phases"]["confirm"] == {"ended": 8, "of": 8}
    fresh = found["confirmed"]
    assert fresh["by"] == "heldout"
    assert fresh["complete"]
    assert [c["runs"] for c in fresh["order"]] == [3, 3, 3]
    assert [c["broken"] for c in fresh["order"]] == [0, 0, 0]
    searched = [c["trial"] for c in fresh["order"] if c["baseline"] is None]
    assert searched == [row["trial"] for row in found["best"][:2]]
    console = Console(width=120, record=True)
    console.print(answer(plain(plan), ledger, plan.folder), soft_wrap=True)
    said = console.export_text()
    assert f"{fresh['order'][0]['trial']} is best on fresh seeds, with" in said
    for title in ("fresh seeds", "to, 95 %", "alike", "broke", "0 of 3"):
        assert title in said


def test_the_best_is_kept_with_its_fresh_runs(plan: Plan, ledger: Ledger) -> None:
    kept = best(ledger, plan.space.confirm)
    winner = answer_json(plain(plan), ledger, plan.folder)["best"][0]["number"]
    assert {r.number for r in ledger.records if r.baseline} | {winner} <= kept
    fresh = [ledger[number] for number in kept if ledger[number].role == "confirm"]
    assert [record.of for record in fresh] == [winner] * 3


def test_what_is_run_again_is_no_trial_of_its_own(plan: Plan, ledger: Ledger) -> None:
    order = best_first(ledger.records, plan.folder)
    assert len(order) == 6
    assert all(record.of is None for record in order)
    told = answer_json(plain(plan), ledger, plan.folder)["confirmed"]["order"]
    assert [record.number for record in order[:3]] == [c["number"] for c in told]


def test_the_picture_names_what_is_run_again(plan: Plan, tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        sweep = Sweep(plan, ledger)
        Simulated(concurrency=1).run(sweep)
        again = next(r for r in ledger.records if r.role == "confirm")
        board = Board(plain(plan), ledger)
        assert board[again.number].label == f"{again.name} of t{again.of:03d}"
        console = Console(width=100, height=40, record=True)
        console.print(frame(board, 0.0, 10.0, 100, 40))
        assert "search 6/6 · confirm 8/8" in console.export_text()


def test_mlflow_is_told_what_is_run_again_and_who_won(plan: Plan, ledger: Ledger) -> None:
    again = next(r for r in ledger.records if r.role == "confirm")
    run = of_trial(plain(plan), plan.folder, again, closing=True)
    assert run.name.startswith(f"{again.name} confirm of t{again.of:03d}")
    assert run.tags["sweeper.kind"] == run.tags["sweeper.role"] == "confirm"
    assert run.tags["sweeper.of"] == str(again.of)
    searched = of_trial(plain(plan), plan.folder, ledger.records[2], closing=True)
    assert (searched.tags["sweeper.kind"], searched.tags["sweeper.role"]) == ("trial", "search")
    chosen = Best(plain(plan))
    chosen.learn(ledger)
    assert chosen.ends == len(ledger)
    assert len(chosen.metrics) == 6
    whole = of_sweep(plain(plan), ledger, chosen, 0, closing=True)
    won = answer_json(plain(plan), ledger, plan.folder)["confirmed"]["order"][0]
    assert whole.status == "FINISHED"
    assert whole.tags["sweeper.winner"] == str(won["number"])
    assert f"{won['trial']} is best on fresh seeds" in whole.tags["sweeper.confirmed"]


def test_what_a_search_repeats_is_shown_by_its_mean(plan: Plan, tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        board = Board(plain(plan) | {"seeds": 2}, ledger)
        for of, score in ((None, 4.0), (0, 9.0), (None, 5.0), (2, 5.0)):
            number = ledger.add_trial(
                {}, {}, role="repeat" if of is not None else None, of=of
            ).number
            board.learn(ledger.started(number))
            data = {"best": score, "seconds": 1.0, "losses": {}}
            board.learn(ledger.measured(number, 1, 9, score, "continue", data))
            board.learn(ledger.ended(number, "completed", "it ended"))
        first = board.best()
        assert first is not None
        assert first.number == 2
        assert [(row.number, row.score) for row in ranked(board.rows)] == [
            (2, pytest.approx(5.0)),
            (0, pytest.approx(6.0)),
        ]


def test_another_run_of_a_baseline_is_trained_to_the_end_too(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.add_trial({}, {}, "default")
        ledger.add_trial({}, {})
        for of in (0, 1):
            ledger.add_trial({}, {}, role="repeat", of=of)
        made = [record.whole for record in ledger.records]
    with Ledger(tmp_path, write=False) as read:
        assert made == [record.whole for record in read.records] == [True, False, True, False]
