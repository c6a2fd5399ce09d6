"""``sweeper stop`` from another shell, and one driver of a results folder at a time."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger, holder
from sweeper.space.source import InputError
from sweeper.sweep import stopping
from sweeper.sweep.executor import Sweep
from sweeper.sweep.plan import Plan
from sweeper.sweep.stopping import Ending, stop
from tests.sweep.plans import SPACES, Simulated, small

# As many images as take minutes.
LONG = (
    "budget.max=500",
    "batch.size=8",
    "architecture.dcgan.channels=4",
    "prior.gaussian_latent.size=8",
    "evaluation.features=random",
    "evaluation.samples=16",
    "evaluation.every_kimg=0.016",
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=4)


def sweeper(*words: str | Path, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sweeper.cli", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


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
        driver = threading.Thread(target=drive, args=(ending, deaf))
        monkeypatch.setattr(Plan, "folder", property(lambda self: tmp_path))
        driver.start()
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


def drive(ending: Ending, deaf: bool) -> None:
    if not deaf:
        with ending.heard():
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
def test_stopped_from_another_shell(tmp_path: Path, migrated: Path) -> None:
    """A sweep in the middle of its first trial stops, with the exit code of SIGTERM, and another
    driver is refused for as long as it is there."""
    out, folder = tmp_path / "results", tmp_path / "results" / "ttur"
    database = f"sqlite:///{shutil.copy(migrated, tmp_path)}"
    overrides = [word for override in LONG for word in ("--set", override)]
    words = ["--trials", "4", "--out", out, "--inline", "--tracking-uri", database]
    running = sweeper("run", SPACES / "ttur.yaml", *words, *overrides)
    try:
        until_measured(folder, running)
        second = sweeper("resume", folder, "--inline")
        refused, _ = second.communicate(timeout=120)
        assert second.returncode == 4
        where = f"process {running.pid} on {socket.gethostname()}"
        assert f"is held by {where}" in refused
        assert "Traceback" not in refused
        began = time.monotonic()
        asked = sweeper("stop", "ttur", "--out", out)
        said, _ = asked.communicate(timeout=120)
        assert asked.returncode == 0, said
        assert f"asked {where} to stop" in said
        output, _ = running.communicate(timeout=120)
        assert running.returncode == 128 + signal.SIGTERM, output
        assert time.monotonic() - began < 60  # fifteen on a machine that does nothing else
        assert "told to stop" in output
        assert "sweeper resume" in output
        assert "Traceback" not in output
        with Ledger(folder) as ledger:
            assert [r.state for r in ledger.records] == ["running"]
        assert not (folder / "stop").exists()
        again = sweeper("stop", folder)
        said, _ = again.communicate(timeout=60)
        assert again.returncode == 1
        assert "nobody drives it" in said
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)


def until_measured(folder: Path, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not any(measured(folder)):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def measured(folder: Path) -> Iterator[bool]:
    if (folder / "ledger.sqlite").exists():
        try:
            ledger = Ledger(folder, write=False)
        except Exception:  # it is being made
            return
        try:
            yield from (bool(record.curve) for record in ledger.records)
        finally:
            ledger.close()
