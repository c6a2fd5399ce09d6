"""Trials that fail a diagnosis: ended at once, shown, learnt from, and judged by nobody."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from sweeper.ledger.ledger import Ledger
from sweeper.report.page import write_report
from sweeper.report.ranking import load
from sweeper.sweep.answer import answer_json
from sweeper.sweep.board import Board, ranked
from sweeper.sweep.drive import How, code, drive
from sweeper.sweep.executor import Sweep
from sweeper.sweep.live import PlainLines, frame
from sweeper.sweep.plan import Plan, Settings, prepare
from sweeper.sweep.preview import preview
from sweeper.sweep.proposer import frozen
from sweeper.sweep.rungs import Rungs
from sweeper.sweep.single import single
from sweeper.sweep.tracking import of_trial
from tests.sweep.plans import SMALL, SPACES, Simulated, small, verdict

KEEN = ("diagnostics.mode_collapse.ratio=0.999", "diagnostics.mode_collapse.action=fail")
"""G is said to have collapsed unless it is as varied as the real examples."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=8)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        yield opened


def test_a_failed_diagnosis_ends_a_trial_at_its_measurement(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(plan, ledger)
    Simulated(faults={0: "fail", 2: "fail", 3: "warn"}).run(sweep)
    assert sweep.complete
    for number in (0, 2):
        record = ledger[number]
        assert record.state == "diagnosed"
        assert record.reason == "d_loss_zero: D has won"
        assert record.measured[-1].decision == "stop"
        assert record.step == 3 * plan.every
    assert ledger[0].baseline is not None
    assert ledger[3].state in ("completed", "stopped")
    assert code(ledger) == 0


def test_nobody_is_judged_against_a_trial_that_fails_a_diagnosis(
    plan: Plan, ledger: Ledger
) -> None:
    sweep = Sweep(plan, ledger)
    Simulated(faults=dict.fromkeys(range(1, 8), "fail")).run(sweep)
    level = plan.rungs[1]
    assert level == 3 * plan.every
    assert level not in sweep.rungs.scores
    replayed = Rungs(plan.rungs, plan.factor)
    replayed.replay(ledger.events, frozenset({0}))
    assert (replayed.scores, replayed.reached) == (sweep.rungs.scores, sweep.rungs.reached)
    assert code(ledger) == 0
    assert {r.state for r in ledger.records} == {"completed", "stopped", "diagnosed"}


@pytest.mark.parametrize("cut", [2, 5, 9, 14])
def test_a_driver_that_dies_beside_a_diagnosis_loses_nothing(
    plan: Plan, tmp_path: Path, cut: int
) -> None:
    def seen(ledger: Ledger) -> list[tuple[object, ...]]:
        events = [e for e in ledger.events if e.kind != "started"]
        return [(e.trial, e.kind, e.step, e.value, e.decision, e.data) for e in events]

    faults = {1: "fail", 2: "fail"}
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    with Ledger(tmp_path / "whole") as whole:
        Simulated(1, dict(faults)).run(Sweep(plan, whole))
        expected = seen(whole)
    with Ledger(tmp_path / "cut") as first:
        begun = Simulated(1, dict(faults), stop_after=cut)
        begun.run(Sweep(plan, first))
    with Ledger(tmp_path / "cut") as second:
        left = {n: fault for n, fault in faults.items() if not ended(second, n)}
        Simulated(1, left).run(Sweep(plan, second))
        assert seen(second) == expected


def ended(ledger: Ledger, number: int) -> bool:
    return number < len(ledger.records) and ledger[number].ended


def test_a_driver_that_dies_between_verdict_and_end_ends_the_trial_later(
    plan: Plan, tmp_path: Path
) -> None:
    with Ledger(tmp_path) as ledger:
        Simulated(1, {1: "fail"}).run(Sweep(plan, ledger))
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute(
            "DELETE FROM events WHERE seq >= "
            "(SELECT seq FROM events WHERE trial = 1 AND kind = 'ended')"
        )
        db.execute("DELETE FROM trials WHERE number > 1")
    db.close()
    with Ledger(tmp_path) as ledger:
        assert not ledger[1].ended
        sweep = Sweep(plan, ledger)
        Simulated(1).run(sweep)
        assert ledger[1].state == "diagnosed"
        assert ledger[1].step == 3 * plan.every


def test_the_proposer_is_told_that_it_broke_a_constraint(plan: Plan, ledger: Ledger) -> None:
    Simulated(faults={2: "fail"}).run(Sweep(plan, ledger))
    shown = {n: frozen(plan.space, ledger[n]) for n in (0, 2)}
    assert shown[2].state is optuna.trial.TrialState.PRUNED
    assert shown[2].constraints == {"diverged": 1.0}
    assert shown[0].constraints == {"diverged": 0.0}


def test_views_show_warnings_and_diagnoses(plan: Plan, ledger: Ledger) -> None:
    out = io.StringIO()
    lines = PlainLines(plan.plain(), ledger, out)
    sweep = Sweep(plan, ledger, [lines])
    Simulated(faults={0: "warn", 2: "fail"}).run(sweep)
    said = out.getvalue().splitlines()
    warnings = [line for line in said if " t000 warning " in line]
    assert len(warnings) == 1, "it is said when it is new, and no more"
    assert warnings[0].endswith("d_loss_zero: D has won")
    assert any(" t002 diagnosed " in line for line in said)
    assert not any(" t002 warning " in line for line in said)

    board = Board(plan.plain(), ledger)
    assert 2 not in [row.number for row in ranked(board.rows)]
    console = Console(file=io.StringIO(), width=120)
    console.print(frame(board, 0.0, 1.0, 120, 40))
    picture = console.file.getvalue()  # type: ignore[attr-defined]
    (row,) = [line for line in picture.splitlines() if line.startswith("t000 ◆  ")]
    assert "completed !" in row
    assert "1 diagnosed" in picture
    assert "t002 diagnosed: d_loss_zero: D has won" in picture

    found = answer_json(plan.plain(), ledger, plan.folder)
    assert found["states"]["diagnosed"] == 1
    assert {"trial": "t002", "state": "diagnosed", "reason": "d_loss_zero: D has won"} in found[
        "failures"
    ]


def test_a_warning_that_passes_is_no_longer_shown(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(plan, ledger)
    job = sweep.next()
    assert job is not None
    board = Board(plan.plain(), ledger)
    for k, verdicts in enumerate(([], [verdict("warn")], [verdict("warn")], []), 1):
        report = {"images": k * plan.every, "score": 9.0, "best": 9.0, "losses": {}}
        report |= {"seconds": 1.0, "images_per_second": 1.0, "verdicts": verdicts}
        report |= {"kind": "measured", "protocol": plan.protocol.hash}
        sweep.report(job, report)
        for event in ledger.events:
            board.learn(event)
        assert bool(board[0].warned) == bool(verdicts)
        if k == 3:
            assert board[0].warned_at == ledger[0].measured[1].at, "since it was first said"


def test_mlflow_is_told(plan: Plan, ledger: Ledger) -> None:
    Simulated(faults={0: "warn", 2: "fail"}).run(Sweep(plan, ledger))
    runs = [of_trial(plan.plain(), plan.folder, ledger[n], closing=True) for n in range(3)]
    assert runs[2].status == "FAILED"
    assert runs[2].tags["sweeper.state"] == "diagnosed"
    assert runs[2].tags["sweeper.diagnosis"] == "d_loss_zero, fail: D has won"
    assert runs[0].tags["sweeper.diagnosis"] == "d_loss_zero, warn: D has won"
    assert "sweeper.diagnosis" not in runs[1].tags


def test_a_ledger_begun_before_there_were_warnings_goes_on(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        ledger.add_trial({}, {})
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("ALTER TABLE trials DROP COLUMN warnings")
    db.close()
    old = Ledger(tmp_path, write=False)
    assert old[0].warnings == []
    old.close()
    with Ledger(tmp_path) as ledger:
        ledger.add_trial({}, {}, warnings=["batch: small"])
    with Ledger(tmp_path) as ledger:
        assert [r.warnings for r in ledger.records] == [[], ["batch: small"]]


def test_a_real_sweep_ends_and_shows_what_fails_a_diagnosis(tmp_path: Path) -> None:
    settings = Settings(
        SPACES / "ttur.yaml", "digits", (*SMALL, "batch.accumulate=2", *KEEN), 2, 0, None, tmp_path
    )
    plan = prepare(settings)
    assert plan.warned
    assert any("are run with a warning" in line for line in preview(plan))
    assert drive(plan, How(inline=True), lambda line: None) == 1, "no trial came to count"
    with Ledger(plan.folder) as ledger:
        for record in ledger.records:
            assert record.state == "diagnosed"
            assert len(record.measured) == 2, "two evaluations in a row"
            assert str(record.reason).startswith("mode_collapse: ")
            assert max(len(json.dumps(e.data)) for e in record.measured) < 4000
            assert all("batch" in warning for warning in record.warnings)
        warned = [r for r in ledger.records if r.warnings]
        assert warned
        run = of_trial(plan.plain(), plan.folder, warned[0], closing=True)
        assert run.tags["sweeper.warnings"] == "\n".join(warned[0].warnings)
        assert any(m.key == "variety/distance" for m in run.metrics)
    sweep = load(plan.folder)
    assert {v["name"] for v in sweep.verdicts if v["level"] == "fail"} == {"mode_collapse"}
    page = write_report(plan.folder).read_text()
    assert "What the diagnostics say" in page
    assert "mode_collapse" in page
    assert "as composed" in page
    assert page.count("diagnosed") > 2


def test_a_single_trial_says_what_is_diagnosed_and_ends(tmp_path: Path) -> None:
    def told(*, json_lines: bool) -> list[str]:
        overrides = (*SMALL, *KEEN)
        file = SPACES / "ttur.yaml"
        return list(
            single(
                file, "digits", overrides, None, tmp_path, lambda *_: None, json_lines=json_lines
            )
        )

    lines = told(json_lines=False)
    assert sum(" kimg  fid" in line for line in lines) == 2
    assert any(line.lstrip().startswith("fail  mode_collapse: ") for line in lines)
    assert "diagnosed: mode_collapse ends the trial" in lines
    events = [json.loads(line) for line in told(json_lines=True)]
    assert [e["event"] for e in events] == ["measured", "measured"]
    assert [v["level"] for v in events[-1]["verdicts"] if v["name"] == "mode_collapse"] == ["fail"]


def test_a_single_trial_says_what_it_starts_from_and_is_warned_of(tmp_path: Path) -> None:
    def told(*more: str) -> list[str]:
        file, overrides = SPACES / "ttur.yaml", (*SMALL, *more)
        return list(
            single(file, "digits", overrides, None, tmp_path, lambda *_: None, json_lines=False)
        )

    assert any(" kimg  fid" in line for line in told())
    (first,) = tmp_path.glob("ttur-trial*")
    lines = told(f"init_from.checkpoint={first}", "batch.accumulate=2")
    at = next(i for i, line in enumerate(lines) if " kimg  fid" in line)
    assert any(line.startswith("warning: batch") for line in lines[:at])
    assert any(line.startswith(f"generator from {first}: ") for line in lines[:at])
    assert len(list(tmp_path.glob("ttur-trial*/start.json"))) == 1
