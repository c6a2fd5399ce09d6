"""``ray up`` and ``sweeper run`` as they are typed, on hosts with ssh, of which two are lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger, Record
from tests.cluster.hosts import NET, ROOT, VENV, Host, Network, missing, office
from tests.sweep.commands import records

REASON = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(REASON is not None, reason=f"no hosts here: {REASON}"),
]

FOLDERS = ("sweeper", "search_spaces", "cluster")
FILES = ("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "requirements-uv.lock")
EDITS = {
    "192.168.1.10  ": f"{NET}.10  ",
    "[192.168.1.11, 192.168.1.12]": f"[{NET}.11, {NET}.12]",
    "ssh_user: ubuntu": "ssh_user: root",
    # As the file says for machines that all see one environment: nothing is installed here.
    "  - bash ~/sweeper/cluster/install.sh\n": (
        f"  - echo 'export PATH=\"{VENV}/bin:$PATH\"' >> ~/.sweeper.env\n"
    ),
}
"""What a reader of cluster/on-prem.yaml changes for these hosts."""

# Trials with an evaluation every tenth, of which none ends early, and none before the slowest host
# has begun its own: half a minute each on a quiet machine.
TINY = (
    "budget.max=9",
    "budget.rungs=none",
    "batch.size=4",
    "architecture.dcgan.channels=4",
    "prior.gaussian_latent.size=8",
    "evaluation.features=random_conv",
    "evaluation.samples=16",
    "evaluation.full_samples=16",
    "confirm.top=0",
    "resources.cpu=2",
)
SWEEP = "sweeper run search_spaces/ttur.yaml --trials 4 " + " ".join(f"--set {s}" for s in TINY)
UP = 600.0
SWEPT = 600.0


@pytest.fixture
def around() -> Iterator[Network]:
    with office() as network:
        laptop = network.hosts["laptop"]
        desk = laptop.home / "sweeper"
        for name in FOLDERS:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, desk / name, symlinks=True, ignore=ignored)
        for name in FILES:
            shutil.copy(ROOT / name, desk / name)
        text = (ROOT / "cluster" / "on-prem.yaml").read_text()
        for before, after in EDITS.items():
            assert text.count(before) == 1
            text = text.replace(before, after)
        (desk / "cluster.yaml").write_text(text)
        # Else `ray up` would tell Ray's makers of itself.
        laptop.run("ray disable-usage-stats")
        yield network


class Running:
    """A sweep that goes on, as far as its head's disk tells."""

    def __init__(self, network: Network, process: subprocess.Popen[bytes], log: Path) -> None:
        self.network, self.process, self.log = network, process, log
        self.results = network.hosts["head"].home / "results/ttur"

    def on(self, host: Host) -> Record | None:
        """A trial that runs on a worker, and has been measured there."""
        folder = host.home / "results/ttur/trials"
        mine = {int(path.name) for path in folder.glob("0*")} if folder.exists() else set()
        known = [r for r in records(self.results) if r.number in mine]
        return next((r for r in known if r.measured and not r.ended), None)

    def until(self, what: str, true: Callable[[], bool], patience: float) -> None:
        deadline = time.monotonic() + patience
        while not true():
            assert self.process.poll() is None, f"{what}: it ended\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"{what}: too late\n{self.log.read_text()}"
            time.sleep(0.25)


@pytest.mark.timeout(1500)
def test_two_commands_three_hosts_and_two_of_them_lost(around: Network, tmp_path: Path) -> None:
    laptop, head = around.hosts["laptop"], around.hosts["head"]
    killed, cut = around.hosts["w1"], around.hosts["w2"]

    laptop.run("cd sweeper && ray up -y cluster.yaml", timeout=UP)
    joined(head, (killed, cut))
    log = tmp_path / "output"
    process = laptop.start(f"cd sweeper && {SWEEP}", log)
    try:
        running = Running(around, process, log)
        # A trial on each of the three, and the two workers' begun in earnest.
        running.until(
            "a trial on every host",
            lambda: len(records(running.results)) >= 3 and all(map(running.on, (killed, cut))),
            UP,
        )
        victims = [running.on(killed), running.on(cut)]
        killed.kill()
        cut.cut()
        assert process.wait(SWEPT) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    shown = log.read_text()
    assert "running on the cluster of cluster.yaml, sweeper" in shown
    assert "preflight: 3 nodes" in shown

    came_home(laptop, [victim.number for victim in victims if victim is not None])
    assert secret(head) == secret(killed) != ""

    laptop.run("cd sweeper && ray down -y cluster.yaml", timeout=UP)
    assert "raylet" not in head.run("ps -e -o comm=")
    # What came home is of use without the cluster.
    assert "t00" in laptop.run("cd sweeper && sweeper top results/ttur", timeout=UP)
    laptop.run("cd sweeper && rm results/ttur/report.html && sweeper report results/ttur", UP)
    assert (laptop.home / "sweeper/results/ttur/report.html").is_file()
    assert (around.sniffer.foreign, around.sniffer.names) == (set(), set())


def joined(head: Host, workers: tuple[Host, ...]) -> None:
    """Wait until the workers belong to the cluster: `ray up` ends with the head."""
    deadline = time.monotonic() + UP
    while not all("raylet" in worker.run("ps -e -o comm=") for worker in workers):
        assert time.monotonic() < deadline, head.run("tail -n 50 /tmp/ray/session_*/logs/monitor.*")
        time.sleep(1)
    while head.run("ray list nodes", timeout=UP, check=False).count("ALIVE") < 1 + len(workers):
        assert time.monotonic() < deadline
        time.sleep(1)


def came_home(laptop: Host, victims: list[int]) -> None:
    """The results are on the laptop, and nothing in them was lost or is there twice."""
    results = laptop.home / "sweeper/results/ttur"
    assert {"trials.parquet", "measurements.parquet", "report.html"} <= set(os.listdir(results))
    ledger = Ledger(results, write=False)
    try:
        records = list(ledger.records)
        assert len(records) == 4
        assert {r.state for r in records} <= {"completed", "stopped", "diagnosed"}
        assert len(victims) == 2
        for number in victims:
            lost = [e for e in ledger[number].events if e.kind == "lost"]
            assert [e.data["cause"] for e in lost] == ["node"]
            assert ledger[number].attempts == 2
        for record in records:
            steps = [e.step for e in record.measured]
            assert steps == sorted(set(steps))
            assert (results / "trials" / f"{record.number:05d}").is_dir()
    finally:
        ledger.close()


def secret(of: Host) -> str:
    """The cluster's token, which only its owner can read."""
    path = of.home / ".ray/auth_token"
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text().strip()
