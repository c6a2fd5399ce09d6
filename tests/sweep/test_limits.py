"""What bounds a sweep: its limits, a disk that is full, and a clock that is not to be trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables
from sweeper.space.document import Limits
from sweeper.sweep import limits as bounds
from sweeper.sweep.drive import How, drive
from sweeper.sweep.executor import InlineExecutor, Sweep
from sweeper.sweep.limits import Clock, Spent, reached
from sweeper.sweep.plan import Plan, reopen
from sweeper.sweep.room import Room, fits
from tests.sweep.plans import Simulated, small


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=8)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        yield opened


def limited(plan: Plan, **limits: float) -> Plan:
    return replace(plan, space=replace(plan.space, limits=Limits(**limits)))


def test_a_share_of_failures_is_a_share_of_all_trials(plan: Plan, ledger: Ledger) -> None:
    bound, sweep = Limits(failed_share=0.25), Sweep(plan, ledger)
    said = []
    for _ in range(3):
        job = sweep.next()
        assert job is not None
        failed = {"kind": "failed", "cause": "exception", "reason": "no", "traceback": ""}
        sweep.report(job, failed)
        sweep.finished(job)
        said.append(reached(bound, sweep.spent, plan.trials))
    assert said[:2] == [None, None]
    assert "3 failed" in str(said[2])
    assert "limits.failed_share" in str(said[2])


def test_gpu_hours_are_those_of_all_runs(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(bounds, "monotonic", lambda: now[0])
    bound = Limits(gpu_hours=1.0)
    with Ledger(tmp_path) as ledger:
        sweep = Sweep(plan, ledger, gpu=0.5)
        job = sweep.next()
        assert job is not None
        now[0] += 3600
        assert sweep.spent.gpu_hours == pytest.approx(0.5)
        assert reached(bound, sweep.spent, plan.trials) is None
        now[0] += 3600
        assert "limits.gpu_hours" in str(reached(bound, sweep.spent, plan.trials))
        report = {"images": plan.every, "score": 1.0, "best": 1.0, "losses": {}}
        report |= {"protocol": plan.protocol.hash}
        sweep.report(
            job, {"kind": "measured", **report, "seconds": 7000.0, "images_per_second": 1.0}
        )
        sweep.finished(job)
        now[0] += 3600  # nobody is at work
        assert sweep.spent.gpu_hours == pytest.approx(1.0)
    with Ledger(tmp_path) as ledger:
        spent = Spent(0.5, ledger)
        assert spent.gpu_hours == pytest.approx(7000 / 7200)
        assert spent.hours == 0


# The interrupt may fall into the callback of a weak reference, where Python drops it: then the
# sweep ends at its next report.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_limit_leaves_a_sweep_that_can_be_resumed(tmp_path: Path, migrated: Path) -> None:
    """A real run, ended in the middle of its trials, and gone on with."""
    import torch._dynamo  # noqa: F401  (an import that is interrupted spoils the process)

    plan, said = small(tmp_path, trials=3), list[str]()
    how = How(inline=True, tracking=f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    code = drive(limited(plan, wall_hours=0.1 / 3600), how, said.append)
    assert code in (0, 1)  # what it found in this time
    assert [line for line in said if line.startswith("stopping: limits.wall_hours")] != []
    with Ledger(plan.folder) as ledger:
        assert not Sweep(plan, ledger).complete
        assert not any(record.state == "failed" for record in ledger.records)
    assert drive(reopen(plan.folder, None), how, said.append) == 0
    with Ledger(plan.folder) as ledger:
        assert len(ledger) == 3
        assert all(record.ended for record in ledger.records)
        steps = [[e.step for e in record.measured] for record in ledger.records]
        assert all(each == sorted(set(each)) for each in steps)


def test_only_who_is_silent_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(bounds, "monotonic", lambda: now[0])
    clock, without = Clock(1.0), Clock(None)
    for who in (clock, without):
        who.hear("a")
        who.hear("b")
    now[0] = 45.0
    clock.hear("b")
    now[0] = 61.0
    assert clock.overdue() == ["a"]
    assert without.overdue() == []
    clock.forget("a")
    assert clock.overdue() == []


def jumping(step: float) -> Any:
    """A wall clock that goes where it likes."""
    real, calls = time.time, [0]

    def now() -> float:
        calls[0] += 1
        return real() + (step if calls[0] % 2 else -step)

    return now


@pytest.mark.parametrize("step", [3600.0, 1e8])
def test_the_wall_clock_may_jump(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """Hours forward and back at every look at it: the ledger is that of a calm run."""
    bound = limited(plan, wall_hours=1.0, gpu_hours=1.0, trial_minutes=10.0)

    def run(folder: Path) -> list[tuple[object, ...]]:
        folder.mkdir()
        for cut in (9, None):  # stopped once, and gone on with
            with Ledger(folder) as ledger:
                sweep = Sweep(bound, ledger, gpu=1.0)
                Simulated(concurrency=1, stop_after=cut).run(sweep)
                assert reached(bound.space.limits, sweep.spent, plan.trials) is None
                write_tables(ledger, folder, plan.protocol.hash)
                rows = [
                    (e.seq, e.trial, e.attempt, e.kind, e.step, e.value, e.decision)
                    for e in ledger.events
                ]
        return rows

    calm = run(tmp_path / "calm")
    monkeypatch.setattr(time, "time", jumping(step))
    assert run(tmp_path / "jumping") == calm


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if (done := subprocess.run(mount, capture_output=True, text=True)).returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


@pytest.mark.slow
def test_a_disk_that_is_full_makes_a_sweep_wait(plan: Plan, tiny: Path) -> None:
    """Once it fills up in the middle of a trial, everything waits until there is room; no trial is
    lost, and none has failed."""
    fitted, said = replace(plan, out=tiny, name="it", trials=4), list[str]()
    fitted.folder.mkdir()
    with Ledger(fitted.folder) as ledger:
        sweep = Sweep(fitted, ledger, [Filling(tiny)], say=said.append)
        helper = threading.Thread(target=freed, args=(tiny, said))
        helper.start()
        InlineExecutor().run(sweep)
        helper.join()
        assert sweep.complete
        assert all(r.state in ("completed", "stopped") for r in ledger.records)
        assert {cause for r in ledger.records for cause in r.losses} <= {"storage"}
        told = [line for line in said if line.startswith("disk full: ")]
        assert told
        assert "free some space" in told[0]
        assert "the disk can be written: going on" in said
        states = [[e.step for e in r.measured] for r in ledger.records]
        assert all(steps == sorted(set(steps)) for steps in states)
    assert fits(tiny, 1)


class Filling:
    """Fills the disk at the third measurement of the second trial."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.filled = folder, False

    def observe(self, event: Any) -> None:
        if event.trial == 1 and event.kind == "measured" and not self.filled:
            self.filled = True
            fill(self.folder)


def freed(folder: Path, said: list[str]) -> None:
    """Make room a while after the sweep has told that there is none."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any("disk full" in line for line in said):
        time.sleep(0.05)
    time.sleep(1.5)
    (folder / "ballast").unlink(missing_ok=True)


def test_a_full_disk_keeps_nobody_who_was_told_to_stop(plan: Plan, tiny: Path) -> None:
    fitted = replace(plan, out=tiny, name="it")
    fitted.folder.mkdir()
    with Ledger(fitted.folder) as ledger:
        sweep = Sweep(fitted, ledger, say=lambda line: sweep.stopping.set())
        fill(tiny)
        began = time.monotonic()
        while (job := sweep.next()) is not None:
            sweep.lost(job, "x" * 1000, "node")
        assert sweep.stopping.is_set()
        assert time.monotonic() - began < 30
        before = ledger.length
        (tiny / "ballast").unlink()
    with Ledger(fitted.folder) as ledger:  # nothing but what was not written is missing
        assert ledger.length == before


def test_it_is_told_once_and_looked_for_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, now = list[str](), [0.0]
    monkeypatch.setattr("sweeper.sweep.room.monotonic", lambda: now[0])
    monkeypatch.setattr("sweeper.sweep.room.fits", lambda folder, size: now[0] >= 10)
    room = Room(tmp_path, said.append)
    assert room.there()
    for _ in range(3):
        room.ran_out("no space left")
    assert len(said) == 1
    for now[0] in (0.5, 3.0, 7.5, 9.0):
        assert not room.there()
    now[0] = 11.0
    assert room.there()
    assert len(said) == 2
