"""A node that joins a sweep's Ray later, and cannot run its trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sweep.commands import Command, records, run, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.xdist_group("ray")]

TRIALS, TOGETHER = 5, 2


def test_a_node_that_is_unfit_is_told_of_once_and_left_out(
    command: Callable[..., Command], temporary: Path, tmp_path: Path
) -> None:
    off = {"RAY_AUTH_MODE": "disabled"}
    environment = {"TMPDIR": str(temporary), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **off}
    folder = tmp_path / "ttur"
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.sweep.joining", str(tmp_path / "other")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        text=True,
        start_new_session=True,
    ) as nodes:
        assert nodes.stdin
        assert nodes.stdout
        try:
            address = nodes.stdout.readline().strip()
            together = ("--set", f"resources.concurrent={TOGETHER}")
            running = run(command, tmp_path, TRIALS, *together, address=address, also=off)
            until(lambda: any(r.measured for r in records(folder)), running)
            nodes.stdin.write("\n")
            nodes.stdin.flush()
            joined = nodes.stdout.readline().strip()
            assert running.wait() == 0, running.text()
            nodes.stdin.close()
            nodes.wait(60)
        finally:
            if nodes.poll() is None:
                os.killpg(nodes.pid, signal.SIGKILL)
    lost = [e for r in records(folder) for e in r.events if e.kind == "lost"]
    assert 1 <= len(lost) <= TOGETHER, running.text()
    assert {e.data["cause"] for e in lost} == {"node"}
    assert running.text().count("no more trials go to") == 1, running.text()
    assert f"({joined[:8]})" in running.text()
    assert "all nodes have one optuna" in running.text()
    assert len(records(folder)) == TRIALS
    assert all(r.ended for r in records(folder))
