"""A ledger that was torn is named, and nothing is started on it, or it ends at its last commit."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger, LedgerError

TRIALS = 40
PAGE = 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose ledger was closed in good order."""
    folder = tmp_path_factory.mktemp("whole")
    with Ledger(folder) as ledger:
        fill(ledger, TRIALS)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose driver was killed, so that its last commits are in the log alone."""
    folder = tmp_path_factory.mktemp("killed")
    code = (
        "import os, sys; from pathlib import Path; from sweeper.ledger.ledger import Ledger\n"
        "from tests.ledger.test_torn import fill\n"
        "fill(Ledger(Path(sys.argv[1])), 10); os._exit(9)"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code, folder], cwd=root, timeout=120, check=False)
    assert ended.returncode == 9
    assert (folder / "ledger.sqlite-wal").stat().st_size > 0
    return folder


def fill(ledger: Ledger, trials: int) -> None:
    for number in range(trials):
        ledger.add_trial({"lr": 0.1}, {"seed": number, "much": "x" * 500})
        ledger.started(number)
        for step in (100, 200, 300):
            data = {"best": 1.0, "seconds": 1.0, "much": "y" * 700}
            ledger.measured(number, 1, step, 1.0, "continue", data)
        ledger.ended(number, "completed", "the full budget")


def copied(folder: Path, to: Path) -> Path:
    for file in folder.glob("ledger.sqlite*"):
        shutil.copy(file, to)
    return to / "ledger.sqlite"


def pages(path: Path) -> int:
    return path.stat().st_size // PAGE


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("on", ["anywhere", "a page"])
def test_a_truncated_ledger_is_named(whole: Path, tmp_path: Path, share: float, on: str) -> None:
    path = copied(whole, tmp_path)
    size = int(path.stat().st_size * share)
    os.truncate(path, size if on == "anywhere" else size // PAGE * PAGE)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=r"ledger\.sqlite is not"):
        Ledger(tmp_path)
    assert path.read_bytes() == before, "it is left as it was, for whoever can mend it"


@pytest.mark.parametrize("tenth", range(10))
def test_a_page_of_zeros_is_named(whole: Path, tmp_path: Path, tenth: int) -> None:
    path = copied(whole, tmp_path)
    with path.open("r+b") as file:
        file.seek(pages(path) * tenth // 10 * PAGE)
        file.write(bytes(PAGE))
    with pytest.raises(LedgerError, match=r"ledger\.sqlite is not"):
        Ledger(tmp_path)


def test_an_empty_ledger_where_trials_were_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "trials" / "00000").mkdir(parents=True)
    (tmp_path / "ledger.sqlite").touch()
    with pytest.raises(LedgerError, match="it is empty, and trials were run here"):
        Ledger(tmp_path)


def test_garbage_in_a_row_is_named(whole: Path, tmp_path: Path) -> None:
    path = copied(whole, tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE events SET data = '{\"best\": 1.' WHERE seq = 7")
    db.close()
    with pytest.raises(LedgerError, match=r"ledger\.sqlite is not"):
        Ledger(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99, 1.0])
def test_a_torn_log_ends_at_its_last_commit(killed: Path, tmp_path: Path, share: float) -> None:
    """Whatever is missing of the log, what is left are the first of the commits, and work goes
    on."""
    with Ledger(Path(shutil.copytree(killed, tmp_path / "untorn"))) as ledger:
        expected = ledger.events
        assert len(expected) == 50
    path = copied(killed, tmp_path)
    log = path.with_name("ledger.sqlite-wal")
    os.truncate(log, int(log.stat().st_size * share))
    with Ledger(tmp_path) as ledger:
        assert ledger.events == expected[: ledger.length]
        assert ledger.length == 50 or share < 1.0
        before = len(ledger)
        ledger.started(ledger.add_trial({}, {}).number)
    with Ledger(tmp_path) as ledger:
        assert len(ledger) == before + 1
        assert ledger[before].state == "running"


def test_a_log_of_zeros_ends_at_its_last_commit(killed: Path, tmp_path: Path) -> None:
    path = copied(killed, tmp_path)
    log = path.with_name("ledger.sqlite-wal")
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 2)
        file.write(bytes(PAGE))
    with Ledger(tmp_path) as ledger:
        assert 0 < ledger.length < 50
        assert [e.seq for e in ledger.events] == list(range(1, ledger.length + 1))
