"""Faults of real processes on a real Ray, with several trials at a time.

The order of a sweep depends on arrivals then, so it is not compared with an undisturbed one: what
is checked holds for any order.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sweeper.config import Trial
from sweeper.ledger.ledger import Ledger
from sweeper.sweep.plan import reopen
from sweeper.trial.loop import train
from tests.faults.kept import decisions_follow, nothing_lost_or_twice
from tests.sweep.commands import PATIENCE, Command, pids, records, run, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]

SEED = 5
KILLS = 5
TRIALS = 6
SOON = 6
"""Five times so many commits are fewer than a sweep of six trials has, five of which may stop at
the first rung."""

WORKER = "ray::ImplicitFunc"

BRIEF = "budget.max=0.9"
"""It is commits that are counted here, and there are as many in short trials."""


def sound(folder: Path) -> None:
    """Whatever happened: the decisions follow from what came before them, and each trial was
    measured as it is when it is run alone."""
    plan = reopen(folder, None)
    ledger = Ledger(folder, write=False)
    try:
        decisions_follow(ledger, plan.rungs, plan.factor)
        for record in ledger.records:
            alone = {
                m.images: m.score
                for m in train(Trial.read(record.config), plan.cache, folder.parent / record.name)
                if m.images <= record.step
            }
            assert {e.step: e.value for e in record.measured} == alone
    finally:
        ledger.close()


def end(driver: Command, what: str = "") -> None:
    """Wait for the last of a driver's processes of that name, or of all: its Ray takes some seconds
    to see that it is alone, and those that serve it a minute."""
    deadline = time.monotonic() + PATIENCE
    while left := pids(what, driver.process.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.timeout(1800)
def test_a_driver_killed_around_its_commits(
    command: Callable[..., Command], tmp_path: Path
) -> None:
    draws = random.Random(SEED)
    chosen = [(draws.randint(1, SOON), draws.choice(("before", "after"))) for _ in range(KILLS)]
    print(f"seed {SEED}: {chosen}")
    folder = tmp_path / "ttur"
    for number, (at, when) in enumerate(chosen):
        deadly = ("tests.faults.deadly", str(at), when)
        before = records(folder)
        if number:
            driver = command("resume", folder, "--address", "local", program=deadly)
        else:
            driver = run(command, tmp_path, TRIALS, "--set", BRIEF, program=deadly)
        assert driver.wait() == -signal.SIGKILL, driver.text()
        end(driver, WORKER)
        for old, new in zip(before, records(folder), strict=False):
            assert new.events[: len(old.events)] == old.events
    before = records(folder)
    last = command("resume", folder, "--address", "local")
    assert last.wait() == 0, last.text()
    end(last)
    nothing_lost_or_twice(before, records(folder), TRIALS)
    sound(folder)


class Nodes(NamedTuple):
    """A Ray of two nodes: where it is, and the process that keeps the second one in it."""

    address: str
    raylet: int


@pytest.fixture
def nodes(temporary: Path) -> Iterator[Nodes]:
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "RAY_AUTH_MODE": "disabled",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on loopback alone
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.cluster"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            address, raylet = process.stdout.readline().split()
            yield Nodes(address, int(raylet))
            process.stdin.close()
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_lost_node_costs_its_attempts_alone(
    command: Callable[..., Command], nodes: Nodes, tmp_path: Path
) -> None:
    folder = tmp_path / "ttur"
    running = run(
        command, tmp_path, TRIALS, address=nodes.address, also={"RAY_AUTH_MODE": "disabled"}
    )
    until(lambda: sum(bool(r.measured) for r in records(folder)) >= 2, running)
    before = records(folder)
    os.kill(nodes.raylet, signal.SIGKILL)
    assert running.wait() == 0, running.text()
    after = records(folder)
    nothing_lost_or_twice(before, after, TRIALS)
    lost = [e for r in after for e in r.events if e.kind == "lost"]
    assert lost
    assert {e.data["cause"] for e in lost} == {"node"}
    sound(folder)
