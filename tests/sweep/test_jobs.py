"""A sweep sent to a cluster: a real Ray with its dashboard, which the command line talks to over
HTTP and no other way."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.sweep.jobs import Job, Order, Screen
from sweeper.sweep.where import ClusterError, Dashboard, free_port
from tests.sweep.plans import SMALL, SPACES

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]

PATIENCE = 400.0
STAND_IN = """#!/bin/sh
# Where the head's home has a file `real`, the real command; else one that takes no time.
[ -e "$HOME/real" ] && exec {python} -m sweeper.cli "$@"
echo "$@" >> "$HOME/told"
case "$1" in
  stop) touch "$2/stop"; exit 0;;
esac
for word in "$@"; do last2=$last; last=$word; [ "$last2" = --name ] && name=$word; done
mkdir -p "$HOME/results/$name"
ls > "$HOME/results/$name/files"
echo "begun"
trap 'echo terminated; exit 143' TERM
while [ -e "$HOME/hold" ]; do
  [ -e "$HOME/results/$name/stop" ] && echo "stopped as asked" && exit 130
  sleep 0.2
done
echo '{{"some": "json"}}'
exit "$(cat "$HOME/code" 2>/dev/null || echo 0)"
"""


@dataclass
class Head:
    """A cluster of one node: the home of its user, its dashboard and token."""

    home: Path
    url: str
    token: str
    address: str

    def told(self) -> str:
        path = self.home / "told"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    root = Path(tempfile.mkdtemp(prefix="swh-", dir="/tmp"))
    home, commands, port = root / "home", root / "bin", free_port()
    for folder in (home, commands):
        folder.mkdir()
    (commands / "sweeper").write_text(STAND_IN.format(python=sys.executable))
    (commands / "sweeper").chmod(0o755)
    token = secrets.token_hex(32)
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(root),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    environment["RAY_raylet_start_wait_time_s"] = "150"
    environment.pop("RAY_ADDRESS", None)
    # Every port is our own: by default heads of one machine want the same ones.
    ports = {"port": free_port(), "dashboard-port": port, "ray-client-server-port": free_port()}
    ports |= {f"dashboard-agent-{kind}-port": free_port() for kind in ("listen", "grpc")}
    words = ["--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words]
    command += [f"--temp-dir={root / 'r'}", *(f"--{name}={n}" for name, n in ports.items())]
    with (root / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until_up(Dashboard(url, token), process, root)
        yield Head(home, url, token, f"127.0.0.1:{ports['port']}")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        shutil.rmtree(root, ignore_errors=True)


def until_up(dashboard: Dashboard, process: subprocess.Popen[bytes], root: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ClusterError):
            if dashboard.nodes():
                return
        assert process.poll() is None, (root / "log").read_text()
        assert time.monotonic() < deadline, (root / "log").read_text()
        time.sleep(0.2)


@dataclass
class Laptop:
    """The command line on another machine: another home, another folder."""

    folder: Path
    process: subprocess.Popen[bytes]

    def text(self) -> str:
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


Sweeper = Callable[..., Laptop]


@pytest.fixture
def sweeper(tmp_path: Path) -> Iterator[Sweeper]:
    started: list[Laptop] = []

    def start(*words: str | Path, token: str | None = None) -> Laptop:
        environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(SPACES.parent)
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            environment.pop(name, None)
        if token:
            environment["RAY_AUTH_TOKEN"] = token
        with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "sweeper.cli", *map(str, words)],
                cwd=tmp_path,
                env=environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        started.append(Laptop(tmp_path, process))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait(10)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A space that extends one of the user's own, which extends one that ships."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "below.yaml").write_text("extends: base/dcgan.yaml\n")
    path = tmp_path / "above.yaml"
    path.write_text("extends: mine/below.yaml\ntrial: {loss: {choice: [hinge, non_saturating]}}\n")
    return path


@pytest.mark.slow
def test_what_is_sent_and_what_comes_back(head: Head, sweeper: Sweeper, space: Path) -> None:
    """The files of the space and no others; a name that the head has not; the log and the exit
    code."""
    (head.home / "results" / "above").mkdir(parents=True)
    (head.home / "code").write_text("3")
    (space.parent / "secret.txt").write_text("not to be sent")
    words = ["--trials", "5", "--set", "batch.size=8", "--json"]
    laptop = sweeper("run", space, "--address", head.url, *words, token=head.token)
    assert laptop.wait() == 3, laptop.text()
    sent = head.told()
    assert "run above.yaml --trials=5 --set=batch.size=8 --json" in sent
    assert f"--name above-2 --out {head.home}/results --address auto" in sent
    assert (head.home / "results/above-2/files").read_text().split() == ["above.yaml", "mine"]
    assert (laptop.folder / "out").read_text() == '{"some": "json"}\n'
    told = (laptop.folder / "err").read_text()
    assert f"running on the cluster at {head.url}: 1 node, 2 CPUs, 0 GPUs" in told
    assert "begun" in told
    assert "the head has results of another above" in told
    assert "~/results/above-2 on the head" in told


class Busy:
    """A head whose agent answers only when it is asked for the third time."""

    def __init__(self, log: str, *, silent: bool = False) -> None:
        self.log, self.silent, self.asked = log, silent, 0

    def get_job_logs(self, _job: str) -> str:
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("No available agent")
        return "" if self.asked == 2 or self.silent else self.log


def followed(client: Busy, said: list[str]) -> Job:
    order = Order(["run"], {}, "above", fresh=True)
    dashboard = Dashboard("http://127.0.0.1:1", None)
    screen = Screen(json_lines=True)
    return Job(dashboard, cast(Any, client), order, said.append, screen, "http://127.0.0.1:1")


@pytest.mark.parametrize("shown", [0, 56])
def test_the_end_of_a_log_is_fetched_from_a_head_that_is_busy(
    shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    log = "Running entrypoint for job sweeper-above: sweeper run ...\nbegun\n{}\n"
    said: list[str] = []
    job = followed(Busy(log), said)
    job.screen.write(log[:shown])
    job.shown = shown
    job._rest({"driver_exit_code": 0})
    out, err = capsys.readouterr()
    assert (out, err) == ("{}\n", "begun\n")
    assert not said


def test_a_log_that_never_comes_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeper.sweep.jobs.ASKED", 0.0)
    said: list[str] = []
    followed(Busy("", silent=True), said)._rest({"driver_exit_code": 0})
    assert "the end of its log did not come" in said[0]


def test_a_command_that_never_ran_has_no_log() -> None:
    said: list[str] = []
    client = Busy("", silent=True)
    followed(client, said)._rest({"driver_exit_code": None})
    assert (client.asked, said) == (2, [])


@pytest.mark.slow
def test_ctrl_c_once_asks_and_twice_stops(head: Head, sweeper: Sweeper, space: Path) -> None:
    (head.home / "hold").touch()
    (head.home / "code").write_text("0")
    words = ["run", space, "--address", head.url, "--name"]
    try:
        asked = sweeper(*words, "asked", token=head.token)
        asked.until("begun")
        asked.process.send_signal(signal.SIGINT)
        assert asked.wait() == 130, asked.text()
        assert "asking the sweep to stop" in asked.text()
        assert "stopped as asked" in asked.text()

        forced = sweeper(*words, "forced", token=head.token)
        forced.until("begun")
        forced.process.send_signal(signal.SIGINT)
        forced.until("asking the sweep to stop")
        forced.process.send_signal(signal.SIGINT)
        assert forced.wait() == 130, forced.text()
        assert "stopping its job" in forced.text()
    finally:
        (head.home / "hold").unlink()


@pytest.mark.slow
def test_a_laptop_that_leaves_ends_nothing(head: Head, sweeper: Sweeper, space: Path) -> None:
    (head.home / "hold").touch()
    try:
        laptop = sweeper("run", space, "--address", head.url, "--name", "left", token=head.token)
        laptop.until("begun")
        laptop.process.send_signal(signal.SIGHUP)
        assert laptop.wait() == 129, laptop.text()
        assert "goes on there" in laptop.text()
        assert "ray job logs --follow" in laptop.text()
        time.sleep(2)
        assert not (head.home / "results/left/stop").exists()
    finally:
        (head.home / "hold").unlink()


@pytest.mark.slow
def test_a_real_sweep(head: Head, sweeper: Sweeper) -> None:
    (head.home / "real").touch()
    overrides = [word for override in SMALL for word in ("--set", override)]
    words = ["--trials", "2", "--address", head.url, *overrides]
    try:
        laptop = sweeper("run", SPACES / "ttur.yaml", *words, token=head.token)
        assert laptop.wait() == 0, laptop.text()
    finally:
        (head.home / "real").unlink()
    assert "sweep ttur: 2 trials" in laptop.text()
    ledger = Ledger(head.home / "results/ttur", write=False)
    try:
        assert [record.ended for record in ledger.records] == [True, True]
    finally:
        ledger.close()


JOINED = """
import os, sys
from sweeper.sweep.tune import THREADS, cluster
before = dict(os.environ)
with cluster(sys.argv[1], 3) as found:
    import ray
    assert (found.nodes, found.cpus) == (1, 2), found
    of_worker = ray.remote(lambda: {name: os.environ.get(name) for name in THREADS})
    assert set(ray.get(of_worker.remote()).values()) == {"3"}
changed = {k for k in before | dict(os.environ) if before.get(k) != os.environ.get(k)}
# Ray sets these when it is imported, joined or not.
assert changed <= {"RAY_CLIENT_MODE", "PYTHONBREAKPOINT"}, changed
print("joined and left")
"""


@pytest.mark.slow
def test_a_ray_that_is_joined_is_left_as_it_was(head: Head) -> None:
    """Its workers compute in as many threads as a trial has CPUs, and nothing stays behind in the
    environment of the process that joined it."""
    environment = {**os.environ, "RAY_AUTH_TOKEN": head.token}
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", JOINED, head.address]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout == "joined and left\n", done.stderr


@pytest.mark.slow
def test_a_token_is_asked_for(head: Head, sweeper: Sweeper, space: Path) -> None:
    without = sweeper("run", space, "--address", head.url)
    assert without.wait() == 4, without.text()
    assert "asks for a token, and none is here" in without.text()
    wrong = sweeper("run", space, "--address", head.url, token="0" * 64)
    assert wrong.wait() == 4, wrong.text()
    assert "the token it was shown is not its own" in wrong.text()
    assert "Traceback" not in without.text() + wrong.text()


def test_a_dashboard_that_is_dead_or_silent(sweeper: Sweeper) -> None:
    space = SPACES / "ttur.yaml"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port, reason in ((free_port(), "refused"), (silent.getsockname()[1], "within 3 s")):
            laptop = sweeper("run", space, "--address", f"http://127.0.0.1:{port}")
            assert laptop.wait() == 4, laptop.text()
            assert f"no dashboard of Ray answers at http://127.0.0.1:{port}" in laptop.text()
            assert reason in laptop.text()
