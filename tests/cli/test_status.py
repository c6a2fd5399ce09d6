"""Where a sweep stands is seen from any shell, and nothing is touched by looking."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from rich.console import Console
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.sweep.status import list_json, list_lines, status, watch
from tests.sweep.synthetic import EVERY, fill, measure

PATIENCE = 200.0
COLOUR = re.compile(r"\x1b\[[\d;]*(?:3\d|9\d)[\d;]*m")


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of six trials that has ended."""
    made = tmp_path / "results" / "ttur-2"
    made.mkdir(parents=True)
    with Ledger(made) as ledger:
        fill(ledger, made)
    return made


def said(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout


def begin(ledger: Ledger, folder: Path, number: int) -> None:
    """One more trial, with its first measurement."""
    ledger.add_trial({"loss": "hinge"}, {"seed": number})
    ledger.started(number)
    measure(ledger, folder, number, EVERY)


def lengthen(folder: Path, trials: int) -> None:
    """A sweep of more trials than have ended."""
    file = folder / "sweep.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"trials": trials}))


def test_a_complete_sweep(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    text = said("status", folder)
    assert "100% · 6/6 trials · best FID 42.2 t000" in text
    assert text.rstrip().endswith(f"complete; look at it with\n  sweeper ui {folder}")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_sweep_that_nobody_drives_is_interrupted(folder: Path) -> None:
    lengthen(folder, 8)
    text = said("status", folder)
    assert f"interrupted, nothing is lost; go on with\n  sweeper resume {folder}" in text
    assert "ends" not in text, "nobody works on it"
    assert json.loads(said("status", folder, "--json"))["seconds_left"] is None


def test_a_sweep_under_way_has_a_driver_and_a_time_left(folder: Path) -> None:
    lengthen(folder, 8)
    with Ledger(folder) as ledger:
        begin(ledger, folder, 6)
        found = json.loads(said("status", folder, "--json"))
        assert "running, by process" in said("status", folder)
    assert found["state"] == "running"
    assert found["driver"].startswith(f"process {os.getpid()} on ")
    assert [(row["trial"], row["images"]) for row in found["running"]] == [("t006", EVERY)]
    assert found["seconds_left"] > 0
    # Every trial but the last has taken its images at 500 a second.
    images = sum((28800, 28800, 9600, 9600, 6400, 3200, 3200))
    assert found["worker_seconds"] == pytest.approx(images / 500)
    assert found["best"][0]["trial"] == "t001"


def test_a_name_that_is_a_command_of_the_shell_is_quoted(folder: Path) -> None:
    odd = folder.rename(folder.parent / "a; rm -rf b")
    assert f"sweeper ui '{odd}'" in said("status", odd)


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    for command in ("status", "show", "export"):
        done = CliRunner().invoke(app, [command, str(tmp_path), *["0"] * (command == "show")])
        assert "a results folder holds ledger.sqlite" in str(done.exception)


def test_who_watches_in_a_pipe_reads_a_line_an_event(folder: Path) -> None:
    lengthen(folder, 7)
    out = io.StringIO()
    console = Console(file=out, width=200)
    ledger = Ledger(folder)
    watcher = threading.Thread(target=watch, args=(folder, console))
    watcher.start()
    try:
        wait_for(lambda: "sweep ttur-2" in out.getvalue())
        begin(ledger, folder, 6)
        wait_for(lambda: "rung 1/3" in out.getvalue())
        ledger.ended(6, "stopped", "rung 1: not among the best 1/3")
    finally:
        ledger.close()
        watcher.join(PATIENCE)
    assert not watcher.is_alive(), "it ends with the driver"
    told = [line.split()[1:3] for line in out.getvalue().splitlines()]
    assert told[1:-1] == [["t006", "started"], ["t006", "rung"], ["t006", "stopped"]]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Window:
    """``sweeper`` in a terminal of its own."""

    def __init__(self, *words: str | Path, **environment: str) -> None:
        self.handle, inner = pty.openpty()
        plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
        plain |= {"COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color"} | environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sweeper.cli", *map(str, words)],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=plain,
        )
        os.close(inner)
        self.seen = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # the terminal is gone with the process
            while chunk := os.read(self.handle, 65536):
                self.seen += chunk.decode("utf-8", "replace")

    def code(self) -> int:
        """How it ended, once it has, and all that it said was read."""
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.code()
        os.close(self.handle)


@pytest.fixture
def driven(folder: Path) -> Iterator[tuple[Path, Ledger]]:
    """A sweep under way, driven by this process."""
    lengthen(folder, 7)
    ledger = Ledger(folder)
    yield folder, ledger
    ledger.close()


@pytest.mark.parametrize(
    ("environment", "redraws", "colours"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
    ],
    ids=["terminal", "no colour", "dumb"],
)
def test_what_a_terminal_cannot_do_is_not_asked_of_it(
    driven: tuple[Path, Ledger], environment: dict[str, str], redraws: bool, colours: bool
) -> None:
    folder, ledger = driven
    with Window("status", folder, "--watch", **environment) as window:
        wait_for(lambda: "ttur-2" in window.seen)
        begin(ledger, folder, 6)
        wait_for(lambda: "t006" in window.seen)
        ledger.ended(6, "stopped", "rung 1: not among the best 1/3")
        ledger.close()
        assert window.code() == 0
    assert "complete; look at it with" in window.seen
    assert ("\x1b[1A" in window.seen) is redraws, "it goes up to draw over what it drew"
    assert bool(COLOUR.search(window.seen)) is colours
    assert ("\x1b" in window.seen) is redraws


def test_the_picture_of_a_sweep_is_as_wide_as_its_window(folder: Path) -> None:
    out = io.StringIO()
    status(folder, Console(file=out, width=60))
    assert max(map(len, out.getvalue().splitlines())) <= 60


def test_all_sweeps_of_a_folder_the_latest_first(folder: Path) -> None:
    results = folder.parent
    shutil.copytree(folder, results / "older")
    later = results / "later"
    later.mkdir()
    with Ledger(later) as ledger:
        fill(ledger, later)
        begin(ledger, later, 6)
        lengthen(later, 9)
        (results / "broken").mkdir()
        (results / "broken" / "ledger.sqlite").write_text("not a ledger")
        (results / "ttur-trial").mkdir()
        rows = [line.split() for line in list_lines(results, silent)]
    assert rows[0][:5] == ["sweep", "state", "trials", "best", "metric"]
    # What has begun counts as a trial of the sweep, and has not ended.
    assert rows[1][:6] == ["later", "running", "6/9", "42.2", "t000", "fid_digits"]
    assert [row[:3] for row in rows[2:4]] == [[n, "complete", "6/6"] for n in ("older", "ttur-2")]
    assert rows[4][:2] == ["broken", "damaged"]
    assert rows[-1] == ["4", "sweeps"], "a trial by itself is none"


def test_a_list_as_data(folder: Path) -> None:
    (only,) = json.loads(list_json(folder, silent))
    assert only["name"] == "ttur-2"
    assert only["best"] == pytest.approx(42.222, abs=1e-3)
    assert (only["ended"], only["trials"]) == (6, 6)


def test_a_folder_without_sweeps(tmp_path: Path) -> None:
    assert said("list", tmp_path) == f"{tmp_path} holds no sweep; sweeper run makes one\n"
    gone = CliRunner().invoke(app, ["list", str(tmp_path / "gone")])
    assert "there is no folder" in str(gone.exception)
