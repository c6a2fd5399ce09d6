"""The SLURM script, with SLURM, Ray and sweeper played by small programs that note what they are
told: it starts, it resumes, it stops in time, and its token is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm.sh"
PROGRAMS = {
    "scontrol": "printf 'n1\\nn2\\nn3\\n'",
    # What follows its options is run; here on one host, instead of on each.
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; "$@"',
    "ray": """
        echo "ray $*" >> told
        stat -c 'token %a' "$RAY_AUTH_TOKEN_PATH" >> told
        wc -c < "$RAY_AUTH_TOKEN_PATH" >> told
        while [ "$1" != -- ]; do shift; done; shift; "$@"
    """,
    "sweeper": """
        echo "sweeper $*" >> told
        case $1 in
          run) mkdir -p results/first; touch results/first/ledger.sqlite ;;
          stop) touch results/first/stop ;;
        esac
        if [ -n "${LONG:-}" ] && [ "$1" != stop ]; then
          until [ -e results/first/stop ]; do sleep 0.05; done
          exit 130
        fi
    """,
}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def submitted(desk: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    slurm = {
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "2",
        "SLURM_SUBMIT_DIR": str(desk),
    }
    return subprocess.Popen(
        ["bash", SCRIPT, *words],
        env={"PATH": os.environ["PATH"], **slurm, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_it_starts_a_sweep_over_all_hosts_then_resumes_it(desk: Path) -> None:
    for _ in range(2):
        process = submitted(desk, "search_spaces/ttur.yaml", "--name", "first", "--trials", "9")
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    told = (desk / "told").read_text().splitlines()
    ray = [line for line in told if line.startswith("ray ")]
    assert all("--address n1:24567 --min-nodes 3 --num-cpus=8 --num-gpus=2 --" in r for r in ray)
    assert [line for line in told if line.startswith("sweeper ")] == [
        "sweeper run search_spaces/ttur.yaml --name first --trials 9 --out results "
        "--address n1:24567",
        "sweeper resume results/first --address n1:24567",
    ]
    assert told.count("token 600") == 2
    assert told.count("64") == 2
    assert not list((desk / "results").glob(".token*"))


def test_the_sweep_ends_well_before_the_time_is_up(desk: Path) -> None:
    process = submitted(desk, "search_spaces/ttur.yaml", "--name=first", LONG="yes")
    deadline = time.monotonic() + 120
    while not (desk / "results/first/ledger.sqlite").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert (desk / "told").read_text().splitlines()[-1] == "sweeper stop results/first"
    assert not list((desk / "results").glob(".token*"))


def test_it_says_how_it_is_used(desk: Path) -> None:
    process = submitted(desk)
    output, _ = process.communicate(timeout=120)
    assert (process.returncode, output.partition(":")[0]) == (2, "usage")
