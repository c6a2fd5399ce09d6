"""Ends that are not as planned: the disk is full, or the last trial hears nothing. What was found
is told all the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import typer

from sweeper.cli.sweeps import sweep
from sweeper.ledger.ledger import Ledger
from sweeper.report import page
from sweeper.sweep.drive import How
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import reopen
from tests.sweep.plans import Simulated, small
from tests.sweep.test_limits import fill
from tests.sweep.test_limits import tiny as tiny

INLINE = How(inline=True)


def ended(out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Sweep two trials as the command line does: the exit code, and what it said."""
    with pytest.raises(typer.Exit) as done:
        sweep(small(out, trials=2), INLINE)
    printed = capsys.readouterr()
    return done.value.exit_code, printed.out + printed.err


def test_a_report_that_finds_no_room_is_done_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(page, "render", full)
    code, text = ended(tmp_path / "results", capsys)
    assert code == 0
    assert "no report.html: [Errno 28] No space left on device; sweeper report " in text
    assert "t000" in text, "the answer is there"


@pytest.mark.slow
def test_ctrl_c_ends_the_waiting_for_room_at_the_end(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up once the last trial has ended, and nobody makes room."""
    commit = Ledger.ended

    def last(self: Ledger, number: int, *words: Any, **data: Any) -> Any:
        event = commit(self, number, *words, **data)
        if number == 1:
            fill(tiny)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
            signal.alarm(4)
        return event

    monkeypatch.setattr(Ledger, "ended", last)
    code, text = ended(tiny / "results", capsys)
    assert code == 130
    assert "disk full: the tables" in text
    assert "are as they were before: sweeper resume writes them" in text
    assert "interrupted: 2 of 2 trials have ended, nothing is lost" in text
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


DEAF = """
import ctypes
import sys
from dataclasses import replace
from pathlib import Path

from sweeper.ledger.ledger import Ledger
from sweeper.space.document import Limits
from sweeper.sweep import executor, limits
from tests.sweep.plans import small
from tests.sweep.test_failures import trained

limits.GRACE = 1.0
plan = small(Path(sys.argv[1]), trials=2)
plan = replace(plan, space=replace(plan.space, limits=Limits(trial_minutes=2 / 60)))


def train(trial, *_, **__):
    yield next(trained(trial, plan))
    lock, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    while True:  # the second time it waits for itself
        c.pthread_mutex_lock(lock)


executor.train = train
with Ledger(plan.folder) as ledger:
    executor.InlineExecutor().run(executor.Sweep(plan, ledger, say=print))
"""


@pytest.mark.slow
def test_an_inline_trial_that_hears_nothing_ends_the_process(tmp_path: Path) -> None:
    """It is failed, and resume goes on with the others."""
    done = subprocess.run(
        [sys.executable, "-c", DEAF, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    law = "minutes (limits.trial_minutes), and it cannot be interrupted"
    assert law in done.stdout
    assert "interrupted: 1 of 2 trials have ended, nothing is lost" in done.stderr
    plan = reopen(tmp_path / "ttur", None)
    with Ledger(plan.folder) as ledger:
        assert (ledger[0].state, ledger[0].cause) == ("failed", "timeout")
        assert law in str(ledger[0].reason)
        assert len(ledger[0].measured) == 1
        sweep = Sweep(plan, ledger)
        Simulated().run(sweep)
        assert sweep.complete
        assert ledger[1].state in ("completed", "stopped")
