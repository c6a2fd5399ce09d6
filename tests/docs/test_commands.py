"""Every command of the README, typed in order by somebody who has just cloned the project."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, commands, read
from tests.docs.test_documents import ELSEWHERE

SHORTER = {
    "sweeper run search_spaces/ttur.yaml --data photos": (
        "--trials 2 --set budget.max=0.3 --set evaluation.samples=20 --set confirm.top=0 "
        "--set architecture.dcgan.channels=4"
    ),
    "sweeper plan search_spaces/ttur.yaml --probe --price 2.5": (
        "--set budget.max=1.8 --set evaluation.samples=200"
    ),
}
"""Commands that would take hours, or a minute for its own sake, and what makes them short."""

UNTIL = {"sweeper ui results/first": "Ctrl-C ends the server"}
"""Commands that go on until Ctrl-C, which they are given once they have said this."""

PATIENCE = 900.0


def environment(folder: Path) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "PYTEST"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), plain["PATH"]])
    return {**plain, "PATH": path, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}


def shortened(command: str) -> str:
    return f"{command} {SHORTER[command]}" if command in SHORTER else command


def alone(command: str) -> bool:
    """Whether a command is to have a process of its own: it starts a Ray, or ends on Ctrl-C."""
    words = command.split()
    sweeps = words[1] in ("run", "resume", "ablate", "continue") and "--inline" not in words
    return sweeps or command in UNTIL


def typed(lines: Sequence[str], folder: Path, *, until: str = "") -> str:
    """Type commands as they stand, which must succeed, or one that is given Ctrl-C once it has
    said ``until``. Returns what they printed."""
    printed, asked = (folder / f"{what}-{time.monotonic_ns()}" for what in ("printed", "typed"))
    asked.write_text("\n".join(lines))
    one, where = shlex.split(lines[0]), environment(folder)
    if len(lines) > 1:
        one, where = [sys.executable, "-m", "tests.docs.reader"], {**where, "PYTHONPATH": str(ROOT)}
    with printed.open("w") as output, asked.open() as typing:
        process = subprocess.Popen(
            one, cwd=folder, env=where, stdin=typing, stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + PATIENCE
    try:
        if until:
            while until not in printed.read_text() and process.poll() is None:
                assert time.monotonic() < deadline, printed.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
        code = process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert code == 0, f"$ {lines[0]} …\n{printed.read_text()}"
    return printed.read_text()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(3600)
def test_the_readme_from_top_to_bottom(desk: Path) -> None:
    told = [command for command in commands(read("README.md")) if command not in ELSEWHERE]
    for own, group in groupby(told, alone):
        if own:
            for command in group:
                typed([shortened(command)], desk, until=UNTIL.get(command, ""))
        else:
            typed([shortened(command) for command in group], desk)
    results = desk / "results"
    # The table of what is kept tells the truth, for the folder that the tour made.
    kept = re.findall(r"^\| (`.*?) \|", read("README.md").partition("## What is kept")[2], re.M)
    paths = [path for cell in kept for path in re.findall(r"`([\w./-]+)`", cell)]
    assert len(paths) >= 10
    for path in paths:
        there = path.replace("ttur/", "first/").replace("00003", "00000")
        assert (results / there).exists(), there
    assert (desk / "best.png").is_file()
    assert {"first", "ttur", "losses", "ttur-trial", "ttur-trial-2"} <= set(os.listdir(results))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_benchmark_measures_a_sweep(desk: Path) -> None:
    line = [ROOT / "benchmarks" / "demo.sh", "--trials", "2", "--inline", "--set", "budget.max=0.9"]
    done = subprocess.run(
        line,
        env={**environment(desk), "BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shares = re.findall(r"^(?:images|time in trials) : .* ([\d.]+)$", done.stdout, re.MULTILINE)
    assert len(shares) == 2
    assert all(0 < float(share) <= 1.1 for share in shares)  # whole batches overshoot a little
    assert "held-out, baseline : best" in done.stdout


def collected() -> list[str]:
    lines = [c for path in DOCUMENTS for c in commands(path.read_text("utf-8"))]
    return [c for c in lines if c.startswith(".venv/bin/python -m pytest") and c not in ELSEWHERE]


@pytest.mark.parametrize("command", collected())
def test_tests_that_a_reader_is_told_to_run_are_found(command: str) -> None:
    _, *words = shlex.split(command)
    line = [sys.executable, *words, "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
