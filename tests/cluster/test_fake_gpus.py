"""Several nodes with GPUs that are only counted: packing, politeness and autoscaling."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger
from tests.cluster import jail
from tests.cluster.fakes import fakes
from tests.cluster.meeting import command, met

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]

ROOT = Path(__file__).parents[2]
PATIENCE = 400.0
Fake = tuple[str, dict[str, str]]


@pytest.fixture(scope="module")
def three() -> Iterator[Fake]:
    """A head and three nodes of one GPU each."""
    with fakes(3, 8, 1) as found:
        yield found


def start(words: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as file:
        return subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )


def ended(folder: Path) -> list[str]:
    ledger = Ledger(folder, write=False)
    try:
        return [record.state for record in ledger.records]
    finally:
        ledger.close()


@pytest.mark.timeout(900)
def test_twelve_trials_at_a_quarter_gpu_are_four_to_a_gpu(three: Fake, tmp_path: Path) -> None:
    """No trial goes on before all twelve train at once."""
    address, environment = three
    words = command(tmp_path, address, n=12, name="packed")
    running = start(words, environment, tmp_path / "log")
    assert running.wait(PATIENCE) == 0, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "12 trials at a time, 4 to a GPU" in said
    assert "preflight: 4 nodes" in said
    assert met(tmp_path) == [4, 4, 4]
    assert set(ended(tmp_path / "packed")) <= {"completed", "stopped"}


@pytest.mark.timeout(900)
def test_two_sweeps_at_once_and_one_is_polite(three: Fake, tmp_path: Path) -> None:
    """One may hold a single GPU: its four trials are on one. The other has the rest; both end."""
    address, environment = three
    polite, other = tmp_path / "polite", tmp_path / "other"
    first = command(polite, address, "--max-gpus", "1", n=4, name="a")
    second = command(other, address, n=4, name="b")
    running = [
        start(first, environment, tmp_path / "first"),
        start(second, environment, tmp_path / "second"),
    ]
    codes = [each.wait(PATIENCE) for each in running]
    said = (tmp_path / "first").read_text()
    assert codes == [0, 0], said + (tmp_path / "second").read_text()
    assert "4 trials at a time, 4 to a GPU" in said
    assert met(polite) == [4]
    assert sum(met(other)) == 4
    assert len(ended(polite / "a")) == len(ended(other / "b")) == 4


@pytest.mark.timeout(900)
@pytest.mark.skipif(jail.missing() is not None, reason=f"autoscaling: {jail.missing()}")
def test_a_cluster_grows_with_what_is_waiting_and_shrinks_again(tmp_path: Path) -> None:
    """From the head alone to three more nodes, since twelve trials wait, and back."""
    inside = [sys.executable, "-W", "ignore", "-m", "tests.cluster.scaling"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": "/tmp"}
    ran = jail.jailed(inside, tmp_path, 800, environment)
    assert ran.returncode == 0, ran.stdout
    history = json.loads((tmp_path / "history.json").read_text())
    assert history[0] == 1
    assert max(history) == 4
    assert history[-1] == 1
    said = (tmp_path / "log").read_text()
    assert "12 trials at a time, 4 to a GPU" in said
    assert met(tmp_path / "out") == [4, 4, 4]


def test_nothing_of_a_jail_is_left(tmp_path: Path) -> None:
    """What is started in a jail sees no process but its own, and dies with it."""
    if reason := jail.missing():
        pytest.skip(reason)
    words = ["sh", "-c", "sleep 1000 & echo $$; ls /proc | grep -c '^[0-9]'; hostname -I"]
    ran = jail.jailed(words, tmp_path, 30)
    assert ran.returncode == 0, ran.stdout
    pid, processes = ran.stdout.split()[:2]
    assert int(pid) == 1
    assert int(processes) <= 5
    assert not os.path.ismount(tmp_path)
