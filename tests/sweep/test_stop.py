"""``sweeper stop`` from another shell, and one driver of a results folder at a time."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger, holder
from sweeper.space.source import InputError
from sweeper.sweep import stopping
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import Plan
from sweeper.sweep.stopping import Ending, stop
from tests.sweep.commands import Command, records, run, until
from tests.sweep.plans import Simulated, small

# As many images as take minutes.
LONG = ["--set", "budget.max=500", "--set", "evaluation.every_kimg=0.5"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=4)


def test_nobody_drives_it(plan: Plan) -> None:
    said: list[str] = []
    Ledger(plan.folder).close()
    assert stop(plan.name, plan.out, said.append) is False
    assert stop(str(plan.folder), Path("elsewhere"), said.append) is False
    assert all("nobody drives it" in line for line in said)
    assert not (plan.folder / "stop").exists()
    with pytest.raises(InputError, match=r"ledger\.sqlite"):
        stop("nothing", plan.out, said.append)


def test_the_holder_has_a_name(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with Ledger(tmp_path):
        assert holder(tmp_path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert holder(tmp_path) is None


@pytest.mark.parametrize("deaf", [False, True])
def test_a_driver_hears(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool
) -> None:
    """The driver looks once a second; one that does not is told of."""
    monkeypatch.setattr(stopping, "PATIENCE", 4.0)
    said: list[str] = []
    told = threading.Thread(target=lambda: stop(tmp_path.name, tmp_path.parent, said.append))
    with Ledger(tmp_path) as ledger:
        sweep = Sweep(plan, ledger)
        ending = Ending(sweep, said.append, urgent=False)
        # Not in the main thread: no signals are sent, which would end this process.
        listening = threading.Event()
        driver = threading.Thread(target=drive, args=(ending, deaf, listening))
        monkeypatch.setattr(Plan, "folder", property(lambda self: tmp_path))
        driver.start()
        assert listening.wait(30)  # what was asked for before is not for this driver
        told.start()
        driver.join()
        assert sweep.stopping.is_set() is not deaf
        assert ending.code == 0
        if deaf:
            told.join()
    told.join()
    assert said[0].startswith(f"{tmp_path}: asked process {os.getpid()} on ")
    if deaf:
        assert "does not hear" in said[-1]
    else:
        assert "told to stop" in said
        assert f"sweeper resume {tmp_path}" in said[-1]
        assert not (tmp_path / "stop").exists()


def drive(ending: Ending, deaf: bool, listening: threading.Event) -> None:
    if deaf:
        listening.set()
        return
    with ending.heard():
        listening.set()
        ending.sweep.stopping.wait(30)


def test_a_request_to_the_driver_before_is_not_for_this_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "folder", property(lambda self: tmp_path))
    with Ledger(tmp_path) as ledger:
        sweep = Sweep(plan, ledger)
        (tmp_path / "stop").touch()
        with Ending(sweep, print, urgent=True).heard():
            time.sleep(1.5)
            Simulated().run(sweep)
        assert sweep.complete


@pytest.mark.slow
def test_stopped_from_another_shell(
    command: Callable[..., Command], tmp_path: Path, migrated: Path
) -> None:
    """A sweep in the middle of its first trial stops, with the exit code of SIGTERM; another driver
    is refused for as long as it is there."""
    folder, database = tmp_path / "ttur", f"sqlite:///{shutil.copy(migrated, tmp_path)}"
    running = run(command, tmp_path, 4, *LONG, "--inline", "--tracking-uri", database)
    until(lambda: any(r.curve for r in records(folder)), running)
    who = f"process {running.process.pid} on {socket.gethostname()}"

    second = command("resume", folder, "--inline")
    assert second.wait() == 4
    assert f"is held by {who}" in second.text()
    assert "Traceback" not in second.text()

    began, asked = time.monotonic(), command("stop", "ttur", "--out", tmp_path)
    assert asked.wait() == 0, asked.text()
    assert f"asked {who} to stop" in asked.text()
    assert running.wait() == 128 + signal.SIGTERM, running.text()
    assert time.monotonic() - began < 60  # fifteen on a machine that does nothing else
    assert "told to stop" in running.text()
    assert "sweeper resume" in running.text()
    assert "Traceback" not in running.text()
    assert [r.state for r in records(folder)] == ["running"]
    assert not (folder / "stop").exists()

    again = command("stop", folder)
    assert again.wait() == 1
    assert "nobody drives it" in again.text()
