"""What happened, told: the log of a trial, the story of a sweep, and a failure seen again."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.sweep.executor import InlineExecutor, Job, Sweep
from sweeper.sweep.logs import logged, logs
from tests.sweep.plans import small

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z \S+ attempt \d+ "


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep of two trials."""
    plan = small(tmp_path_factory.mktemp("logs") / "results", trials=2)
    with Ledger(plan.folder) as ledger:
        InlineExecutor().run(Sweep(plan, ledger))
    return plan.folder


def job(folder: Path, attempt: int = 1) -> Job:
    return Job(0, attempt, {}, str(folder), str(folder), 1)


class OddWarning(Warning):
    """Like nothing else."""


@logged
def noisy(job: Job) -> Iterator[dict[str, Any]]:
    logging.getLogger("sweeper.trial").info("a word")
    warnings.warn("a rate of 0 trains nothing", OddWarning, stacklevel=1)
    yield {"kind": "measured", "images": 1200, "score": 4.5, "seconds": 2.0}
    yield {"kind": "failed", "reason": "RuntimeError: no", "traceback": "Traceback:\n  no\n"}


def test_a_worker_keeps_the_log_of_its_trial(tmp_path: Path) -> None:
    with pytest.warns(OddWarning, match="trains nothing"):
        list(noisy(job(tmp_path)))
    with pytest.warns(OddWarning):
        list(noisy(job(tmp_path, attempt=2)))
    text = (tmp_path / "log.txt").read_text()
    for attempt in (1, 2):
        assert re.search(rf"^{STAMP}INFO a word$", text, re.M)
        assert f"attempt {attempt} INFO at 1,200 images: score 4.5, after 2.0 s\n" in text
        assert f"attempt {attempt} ERROR failed: RuntimeError: no\nTraceback:\n  no\n" in text
    assert "OddWarning: a rate of 0 trains nothing" in text


def test_the_log_hears_nothing_but_its_worker(tmp_path: Path) -> None:
    logger, shown = logging.getLogger("sweeper"), warnings.showwarning
    handlers, level = list(logger.handlers), logger.level
    reports = noisy(job(tmp_path))
    with pytest.warns(OddWarning):
        next(reports)
    logger.warning("somebody else")
    reports.close()  # type: ignore[attr-defined]
    assert "somebody else" not in (tmp_path / "log.txt").read_text()
    assert (logger.handlers, logger.level) == (handlers, level)
    assert warnings.showwarning is shown


def test_a_full_disk_or_a_link_costs_the_log_and_not_the_trial(tmp_path: Path) -> None:
    aim = tmp_path / "aim"
    aim.write_text("")
    (tmp_path / "log.txt").symlink_to(aim)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.warns(OddWarning):
            assert len(list(noisy(job(folder)))) == 2
    assert aim.read_text() == ""


@pytest.mark.parametrize("word", ["1", "001", "t001", "T1", "00001"])
def test_a_trial_by_any_of_its_names(swept: Path, word: str) -> None:
    done = CliRunner().invoke(app, ["logs", str(swept), word], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines
    assert all(re.match(STAMP, line) for line in lines)
    assert "images: score" in lines[0]


def test_an_unknown_trial_is_told_the_range(swept: Path) -> None:
    with pytest.raises(InputError, match=r"is one of t000 to t001, but got 't045'$"):
        list(logs(swept, "t045"))
    with pytest.raises(InputError, match=r"but got 'to01'; did you mean t001\?$"):
        list(logs(swept, "to01"))
    with pytest.raises(InputError, match=r"holds ledger.sqlite, but .* does not"):
        list(logs(swept.parent, "1"))


def test_the_story_of_a_sweep(swept: Path) -> None:
    lines = list(logs(swept, None))
    with Ledger(swept, write=False) as ledger:
        events = ledger.events
    assert len(lines) == len(events)
    assert re.match(r"\d{4}-.*Z  t000  started +0.000 kimg  attempt 1$", lines[0])
    assert re.search(
        r"t000  measured +0.\d+ kimg  score [\d.,]+, continue$", "\n".join(lines), re.M
    )
    assert lines[-1].split("kimg  ")[-1].startswith(("completed: ", "stopped: "))


def test_a_log_is_shown_without_control_characters(swept: Path) -> None:
    path = swept / "trials" / "00000" / "log.txt"
    before = path.read_bytes()
    path.write_bytes(b"\x1b]0;owned\x07\x9b31m plain\xc2\x9b\n")
    try:
        (line,) = logs(swept, "0")
    finally:
        path.write_bytes(before)
    assert "plain" in line
    assert not set(line) & {"\x1b", "\x07", "\x9b"}


def test_a_log_is_followed_until_its_trial_has_ended(tmp_path: Path) -> None:
    plan = small(tmp_path / "results", trials=1)
    path = plan.folder / "trials" / "00000" / "log.txt"
    heard: list[str] = []
    with Ledger(plan.folder) as ledger:
        record = ledger.add_trial({}, {})
        ledger.started(0)
        listener = threading.Thread(
            target=lambda: heard.extend(logs(plan.folder, "0", follow=True)), daemon=True
        )
        told = threading.Thread(
            target=lambda: heard_of.extend(logs(plan.folder, None, follow=True)), daemon=True
        )
        heard_of: list[str] = []
        listener.start()
        told.start()
        path.parent.mkdir(parents=True)
        with path.open("a", buffering=1) as file:
            for i in range(3):
                file.write(f"line {i}\nhalf")
                time.sleep(0.7)
                file.write("\n")
        assert listener.is_alive()
        ledger.ended(record.number, "failed", "no more")
        listener.join(30)
        told.join(30)
    assert not listener.is_alive()
    assert not told.is_alive()
    assert heard == ["line 0", "half", "line 1", "half", "line 2", "half"]
    assert [line.split()[3] for line in heard_of] == ["started", "ended"]
    assert heard_of[-1].endswith("failed: no more")


def test_a_log_is_read_without_the_engine(swept: Path) -> None:
    code = "import sys; from sweeper.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, "logs", os.fspath(swept), "0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"ray", "mlflow", "optuna"}
