"""A real local Ray: a sweep killed and resumed, interrupted, and listening to nobody else."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import optuna
import pytest

from tests.sweep.commands import Command, pids, records, run, until

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


@pytest.mark.slow
def test_killed_and_resumed(command: Callable[..., Command], tmp_path: Path) -> None:
    """SIGKILL with two trials finished and one past its first checkpoint: nothing lost, nothing
    twice."""
    folder, first = tmp_path / "ttur", run(command, tmp_path, 8)

    def due() -> bool:
        found = records(folder)
        cut = [r for r in found if r.state == "running" and len(r.measured) >= 1]
        return sum(r.ended for r in found) >= 2 and bool(cut)

    until(due, first)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    before = {r.number: r for r in records(folder)}
    second = command("resume", folder, "--address", "local")
    assert second.wait() == 0, second.text()
    after = {r.number: r for r in records(folder)}
    assert sorted(after) == list(range(8))
    assert len({str(r.params) for r in after.values()}) == 8
    assert all(r.ended for r in after.values())
    for number, record in before.items():
        if record.ended:
            assert after[number].events == record.events
        else:
            redone = after[number].events[len(record.events) :]
            assert after[number].events[: len(record.events)] == record.events
            steps = [e.step for e in after[number].measured]
            assert steps == sorted(set(steps))
            assert redone[0].kind == "started"
            assert redone[0].step == record.step
    continued = [after[n] for n, r in before.items() if not r.ended and r.measured]
    assert continued
    states = studied(folder)
    assert len(states) == 8
    assert "RUNNING" not in states
    assert tracked(tmp_path / "mlflow.db") == [f"{n}" for n in range(8)]


def studied(folder: Path) -> list[str]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.sqlite'}")
    states = [
        t.state.name for t in optuna.load_study(study_name=folder.name, storage=storage).trials
    ]
    storage.engine.dispose()
    return states


def tracked(database: Path) -> list[str]:
    """The trials that MLflow has runs of, one entry a run."""
    connection = sqlite3.connect(database)
    try:
        found = connection.execute("SELECT value FROM tags WHERE key = 'sweeper.trial'").fetchall()
    finally:
        connection.close()
    return sorted((value for (value,) in found), key=int)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_interrupted(
    command: Callable[..., Command],
    tmp_path: Path,
    temporary: Path,
    number: signal.Signals,
    code: int,
) -> None:
    running = run(command, tmp_path, 8)
    until(lambda: any(r.measured for r in records(tmp_path / "ttur")), running)
    start = time.monotonic()
    os.kill(running.process.pid, number)
    assert running.wait() == code, running.text()
    assert time.monotonic() - start < 120  # fifteen on a machine that does nothing else
    assert "sweeper resume" in running.text()
    assert "Traceback" not in running.text()
    assert not any(r.state == "failed" for r in records(tmp_path / "ttur"))
    assert list(temporary.glob("swp-*")) == []


@pytest.mark.slow
def test_a_killed_worker_is_replaced(command: Callable[..., Command], tmp_path: Path) -> None:
    running = run(command, tmp_path, 3)
    until(lambda: any(r.measured for r in records(tmp_path / "ttur")), running)
    workers = pids("ray::ImplicitFunc", running.process.pid)
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    assert running.wait() == 0, running.text()
    assert "INFO" not in running.text(), "what libraries say of themselves is not for users"
    found = records(tmp_path / "ttur")
    assert all(r.state in ("completed", "stopped") for r in found)
    assert sum(r.lost for r in found) >= 1


@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_alone(
    command: Callable[..., Command], tmp_path: Path
) -> None:
    running = run(command, tmp_path, 2)
    until(lambda: any(r.measured for r in records(tmp_path / "ttur")), running)
    group = {running.process.pid, *pids("", running.process.pid)}
    listening = {address for pid in group for address in sockets(pid)}
    assert listening
    assert [str(address) for address in listening if not address.is_loopback] == []
    assert running.wait() == 0, running.text()


def sockets(pid: int) -> set[IPv4Address | IPv6Address]:
    """The addresses on which a process listens for TCP."""
    inodes = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:
        return set()
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                found.add(address(columns[1].partition(":")[0]))
    return found


def address(kernel: str) -> IPv4Address | IPv6Address:
    """An address as the kernel writes it: words of four bytes, each the wrong way round."""
    words = [bytes.fromhex(kernel[i : i + 8])[::-1] for i in range(0, len(kernel), 8)]
    found = ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found
