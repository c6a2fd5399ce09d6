"""Every command of the README, typed in order by somebody who has just cloned the project."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.documents import DOCUMENTS, ROOT, commands, marked, read
from tests.docs.test_documents import ELSEWHERE

SHORTER = {
    "sweeper run search_spaces/ttur.yaml --data photos": (
        "--trials 2 --set budget.max=0.3 --set evaluation.samples=20 "
        "--set architecture.dcgan.channels=4"
    ),
}
"""Commands that would take hours, and what is added to make them short."""

UNTIL = {"sweeper ui results/first": "Ctrl-C ends the server"}
"""Commands that go on until Ctrl-C, which they are given once they have said this."""

PATIENCE = 900.0


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder as the README's reader has it: the search spaces, and some photos."""
    folder = Path(tempfile.mkdtemp(prefix="swd-", dir="/tmp"))
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    (folder / "mine.py").write_text(marked(read("README.md"), "file: mine.py"))
    random = np.random.default_rng(0)
    for i in range(24):
        kind = folder / "photos" / ("dark", "light")[i % 2]
        kind.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 100, (40, 48, 3), np.uint8) + np.uint8(155 * (i % 2))
        Image.fromarray(pixels).save(kind / f"{i:02d}.png")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "PYTEST"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), plain["PATH"]])
    return {**plain, "PATH": path, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}


def typed(command: str, folder: Path) -> str:
    """Run a command as it stands, which must succeed. Returns what it printed."""
    line = f"{command} {SHORTER[command]}" if command in SHORTER else command
    printed = folder / f"printed-{time.monotonic_ns()}"
    with printed.open("w") as file:
        process = subprocess.Popen(
            shlex.split(line),
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + PATIENCE
    try:
        if command in UNTIL:
            while UNTIL[command] not in printed.read_text() and process.poll() is None:
                assert time.monotonic() < deadline, printed.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
        code = process.wait(max(1.0, deadline - time.monotonic()))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert code == 0, f"$ {line}\n{printed.read_text()}"
    return printed.read_text()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(3600)
def test_the_readme_from_top_to_bottom(desk: Path) -> None:
    for command in commands(read("README.md")):
        if command not in ELSEWHERE:
            typed(command, desk)
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
