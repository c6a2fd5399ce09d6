"""One trial is told of in full, and what it says is inert."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.sweep.show import show, show_json
from tests.sweep.plans import verdict
from tests.sweep.synthetic import EVERY, fill

HOSTILE = "\x1b]0;owned\x07\x1b[2J<script>\n\u202eevil"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "ttur-2"
    made.mkdir()
    with Ledger(made) as ledger:
        fill(ledger, made)
        ledger.add_trial({"loss": "hinge"}, {"seed": 6}, warnings=[HOSTILE])
        ledger.started(6)
        for k, says in enumerate(([], ["warn"], ["warn"], ["fail"]), 1):
            data = {"best": 9.0, "losses": {}, "seconds": 1.0 * k, "images_per_second": 1.0}
            found = [verdict(level) | {"says": HOSTILE} for level in says]
            ledger.measured(6, 1, EVERY * k, 9.0, "continue", data | {"verdicts": found})
        ledger.ended(6, "diagnosed", HOSTILE)
        place = made / "trials" / "00001"
        (place / "checkpoints").mkdir()
        (place / "checkpoints" / "000000028800-aa.pt").touch()
    return made


def test_a_trial_that_went_well(folder: Path) -> None:
    lines = show(folder, "t001")
    assert lines[0] == (
        "t001  completed, fid_digits 82.2 at 28.8 kimg, held out 83.2, rank 1 of the search"
    )
    assert lines[1:4] == [
        "      a proposal of the search",
        "      28.8 of 28.8 kimg, 3 of 3 rungs, 58s of a worker, 1 attempt",
        "      it was completed",
    ]
    text = "\n".join(lines)
    assert "  schedule.alternating_update.d_steps    " in text, "a parameter by its whole name"
    assert "█▅▄▃▂▂▁▁▁  260 at 3.2, 82.2 at 28.8" in text
    assert "  rung 2  9.6 kimg   127   continue" in text
    assert f"{folder}/trials/00001/samples/000000028800.png  the last of 9" in text
    assert f"  sweeper generate {folder} --trial 1 " in text
    assert f"  sweeper continue {folder} --best 1 " in text
    assert "debug" not in text, "nothing went wrong"
    assert "diagnoses" not in text


def test_a_trial_without_a_checkpoint_is_not_proposed_for_samples(folder: Path) -> None:
    text = "\n".join(show(folder, "3"))
    assert "sweeper generate" not in text
    assert f"sweeper continue {folder} --best 3  " in text
    assert "# train it and those above it further" in text


def test_a_trial_that_broke_says_since_when_and_how_to_see_it_again(folder: Path) -> None:
    lines = show(folder, "6")
    text = "\n".join(lines)
    assert "  fail d_loss_zero, since 6.4 kimg: " in text
    assert "    a lower rate" in lines
    assert f"  sweeper debug {folder} t006 " in text
    assert "rank" not in lines[0]


def test_what_a_trial_says_cannot_steer_a_terminal(folder: Path) -> None:
    lines = show(folder, "6")
    assert all(line.isprintable() for line in lines)
    assert sum("<script>" in line for line in lines) == 3, "the reason, the warning, the verdict"


def test_a_trial_as_data(folder: Path) -> None:
    found = json.loads(show_json(folder, "1"))
    assert (found["trial"], found["rank"], found["config"]["seed"]) == ("t001", 1, 0)
    assert [m["images"] for m in found["measurements"]] == list(range(EVERY, 9 * EVERY + 1, EVERY))
    assert len(found["files"]) == 10


def test_a_trial_that_there_is_not(folder: Path) -> None:
    done = CliRunner().invoke(app, ["show", str(folder), "t0007"])
    assert f"a trial of {folder} is one of t000 to t006, but got 't0007'" in str(done.exception)
