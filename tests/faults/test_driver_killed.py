"""SIGKILL of a sweep's driver around any commit, and what is there once it was resumed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger, Record
from tests.faults.kept import ledger_of, mlflow_of, nothing_lost_or_twice, tables_of

TRIALS = 5
SEED = 20
KILLS, MANY = 15, 100

Order = Callable[..., int]


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Order]:
    """Starts drivers, each a process of its own, and waits for them."""
    log = tmp_path_factory.mktemp("drivers") / "log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as zygote:
        assert zygote.stdin
        assert zygote.stdout

        def start(out: Path, *, kill: tuple[int, str] | None = None, resume: bool = False) -> int:
            assert zygote.stdin
            assert zygote.stdout
            words = {
                "out": str(out),
                "kill": kill,
                "resume": resume,
                "trials": TRIALS,
                "log": str(log),
            }
            zygote.stdin.write(json.dumps(words) + "\n")
            zygote.stdin.flush()
            code = int(zygote.stdout.readline())
            assert code in (0, -9), log.read_text()
            return code

        yield start
        zygote.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(
    order: Order, tmp_path_factory: pytest.TempPathFactory, migrated: Path
) -> dict[str, Any]:
    """What is left of a sweep that nothing happened to, and how often it committed."""
    out = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(migrated, out / "mlflow.db")
    assert order(out) == 0
    return {"out": out, "commits": commits(out / "ttur"), **left(out)}


def left(out: Path) -> dict[str, Any]:
    return {
        "ledger": ledger_of(out / "ttur"),
        "tables": tables_of(out / "ttur"),
        "mlflow": mlflow_of(out / "mlflow.db"),
    }


def commits(folder: Path) -> int:
    return len(records(folder)) + sum(len(r.events) for r in records(folder))


def records(folder: Path) -> list[Record]:
    if not (folder / "ledger.sqlite").exists():
        return []
    ledger = Ledger(folder, write=False)
    try:
        return ledger.records
    finally:
        ledger.close()


def killed_and_resumed(
    order: Order, undisturbed: dict[str, Any], migrated: Path, here: Path, draw: int
) -> None:
    """Kill a sweep just before or just after a drawn commit, resume it, and compare."""
    draws = random.Random(f"{SEED} {draw}")
    at, when = draws.randint(1, undisturbed["commits"]), draws.choice(("before", "after"))
    print(f"seed {SEED}, draw {draw}: killed {when} commit {at} of {undisturbed['commits']}")
    shutil.copy(migrated, here / "mlflow.db")
    # Packed data and features are the same for all, so they need not be made again.
    (here / ".cache").symlink_to(undisturbed["out"] / ".cache")
    assert order(here, kill=(at, when)) == -9
    before = records(here / "ttur")
    assert sum(1 + len(r.events) for r in before) == at - (when == "before")
    assert order(here, resume=True) == 0
    after = records(here / "ttur")
    nothing_lost_or_twice(before, after, TRIALS)
    assert sum(r.attempts for r in after) <= TRIALS + 1, "only what was cut is begun again"
    for name, value in left(here).items():
        assert value == undisturbed[name], name


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(KILLS))
def test_a_driver_killed_around_any_commit(
    order: Order, undisturbed: dict[str, Any], migrated: Path, tmp_path: Path, draw: int
) -> None:
    killed_and_resumed(order, undisturbed, migrated, tmp_path, draw)


@pytest.mark.campaign
@pytest.mark.parametrize("draw", range(KILLS, KILLS + MANY))
def test_a_driver_killed_around_any_commit_a_hundred_times(
    order: Order, undisturbed: dict[str, Any], migrated: Path, tmp_path: Path, draw: int
) -> None:
    killed_and_resumed(order, undisturbed, migrated, tmp_path, draw)
