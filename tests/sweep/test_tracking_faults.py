"""An MLflow server that is down, killed, slow, hung or refusing delays nothing, and ends with what
an undisturbed one has."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.sweep.sync import sync
from sweeper.sweep.tracking import Tracker
from tests.sweep import synthetic
from tests.sweep.synthetic import ENDS, EVERY, PLAN
from tests.sweep.test_tracking import held

pytestmark = pytest.mark.slow

PATIENCE = 300.0
AT_ONCE = 3.0
SERVED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A dozen processes that have nothing to do here.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


Undisturbed = Callable[..., object]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Server:
    """A real MLflow server on loopback, with a folder of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        script = Path(sys.executable).with_name("mlflow")
        where = [f"--backend-store-uri=sqlite:///{self.folder / 'mlflow.db'}"]
        where += [f"--artifacts-destination={self.folder / 'artifacts'}", "--workers=1"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [script, "server", "--host=127.0.0.1", f"--port={self.port}", *where],
                cwd=self.folder,
                env=os.environ | SERVED,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < end, "MLflow does not come up"
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Proxy:
    """Stands before a server: passes on what is said, late, or not at all."""

    def __init__(self, to: int) -> None:
        self.to, self.delay = to, 0.0
        self.hung = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := one.recv(1 << 16):
                time.sleep(self.delay)
                while self.hung:
                    time.sleep(0.05)
                other.sendall(said)
            other.shutdown(socket.SHUT_WR)


class Refusing:
    """Answers everything with 500."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(1)
                    client.recv(1 << 16)
                    client.sendall(
                        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    self.refused += 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "results" / PLAN["name"]
    place.mkdir(parents=True)
    return place


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with Ledger(folder) as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path, migrated: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    shutil.copy(migrated, tmp_path / "server" / "mlflow.db")
    made = Server(tmp_path / "server")
    yield made
    made.kill()


@pytest.fixture
def undisturbed(tmp_path: Path, migrated: Path) -> Undisturbed:
    """What MLflow holds of a ledger when nothing goes wrong."""
    (tmp_path / "another").mkdir()
    shutil.copy(migrated, tmp_path / "another" / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'another' / 'mlflow.db'}"

    def tell(ledger: Ledger, folder: Path, plan: dict[str, Any] = PLAN) -> object:
        tracker = Tracker(plan, ledger, folder, uri)
        assert tracker.close() == 0
        return held(uri)

    return tell


def sweep(
    ledger: Ledger, folder: Path, tracker: Tracker, between: Callable[[int], None], trials: int = 6
) -> float:
    """Run the synthetic sweep as a driver does, event by event. Returns the longest time that
    telling of one took. ``between`` is called before each trial."""
    longest = 0.0

    def told() -> None:
        nonlocal longest
        begun = time.monotonic()
        assert ledger.newest is not None
        tracker.observe(ledger.newest)
        longest = max(longest, time.monotonic() - begun)

    for number, end in zip(range(trials), itertools.cycle(ENDS), strict=False):
        between(number)
        params = synthetic.draw(number)
        ledger.add_trial(params, {"seed": 0}, "DCGAN default" if not number else None)
        ledger.started(number)
        told()
        for step in range(EVERY, EVERY * 3 + 1, EVERY):
            synthetic.measure(ledger, folder, number, step)
            told()
        ledger.ended(number, end, f"it was {end}")  # type: ignore[arg-type]
        told()
    return longest


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.1)


def test_down_at_the_start_and_up_later(
    ledger: Ledger, folder: Path, server: Server, undisturbed: Undisturbed
) -> None:
    tracker = Tracker(PLAN, ledger, folder, server.uri)
    assert sweep(ledger, folder, tracker, lambda number: None) < AT_ONCE
    until(lambda: tracker.warnings, "it warns")
    server.start()
    assert tracker.close(PATIENCE) == 0
    assert len(tracker.warnings) == 1
    assert held(server.uri) == undisturbed(ledger, folder)


def test_thirty_trials_while_it_is_down_half_of_the_time(
    ledger: Ledger, folder: Path, server: Server, undisturbed: Undisturbed
) -> None:
    """Killed twice in the middle of what it was told, it is down when the sweep ends, too; what is
    delivered afterwards completes it."""
    plan = PLAN | {"trials": 30}
    server.start()
    tracker = Tracker(plan, ledger, folder, server.uri)

    def between(number: int) -> None:
        match number:
            case 7 | 22:
                until(lambda: len(told(server.uri)) >= number - 1, "most of it is told")
                server.kill()
            case 9 | 24:
                until(lambda: tracker.warnings, "it warns")
            case 15:
                server.start()

    assert sweep(ledger, folder, tracker, between, 30) < 1.0
    lacking = tracker.close(deadline=1.0)
    assert 8 <= lacking < 31
    assert len(tracker.warnings) == 1
    (folder / "sweep.json").write_text(json.dumps(plan))
    ledger.close()
    server.start()
    lines: list[str] = []
    assert sync(folder, server.uri, lines.append) == 0
    assert lines[-1] == "MLflow has it all: 30 trials and the sweep's own run"
    with Ledger(folder, write=False) as again:
        assert held(server.uri) == undisturbed(again, folder, plan)


def told(uri: str) -> set[str]:
    """The trials that MLflow knows by now."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sweeper/ttur")
    runs = client.search_runs([experiment.experiment_id], max_results=100) if experiment else []
    return {run.data.tags["sweeper.trial"] for run in runs if "sweeper.trial" in run.data.tags}


def test_slow(ledger: Ledger, folder: Path, server: Server, undisturbed: Undisturbed) -> None:
    """Every answer comes late, though in time; the sweep does not wait for it."""
    server.start()
    proxy = Proxy(server.port)
    try:
        proxy.delay = 0.15
        tracker = Tracker(PLAN, ledger, folder, proxy.uri)
        begun = time.monotonic()
        assert sweep(ledger, folder, tracker, lambda number: None) < AT_ONCE
        assert time.monotonic() - begun < 10.0
        assert tracker.close(PATIENCE) == 0
        assert tracker.warnings == []
        assert held(server.uri) == undisturbed(ledger, folder)
    finally:
        proxy.close()


def test_hung_and_awake(
    ledger: Ledger, folder: Path, server: Server, undisturbed: Undisturbed
) -> None:
    """A request is taken and not answered, until much later: what it made is not made again."""
    server.start()
    proxy = Proxy(server.port)
    try:
        tracker = Tracker(PLAN, ledger, folder, proxy.uri)

        def between(number: int) -> None:
            if number == 2:
                until(lambda: tracker.experiment, "it answers")
                proxy.hung = True
            if number == 5:
                until(lambda: tracker.warnings, "it warns")
                proxy.hung = False

        assert sweep(ledger, folder, tracker, between) < AT_ONCE
        assert tracker.close(PATIENCE) == 0
        assert len(tracker.warnings) == 1
        assert held(server.uri) == undisturbed(ledger, folder)
    finally:
        proxy.close()


def test_hung_for_good(ledger: Ledger, folder: Path, server: Server) -> None:
    """The sweep ends when its patience does, and says what is missing."""
    silent = socket.create_server(("127.0.0.1", 0))  # connects, and never reads
    try:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracker = Tracker(PLAN, ledger, folder, uri)
        assert sweep(ledger, folder, tracker, lambda number: None) < AT_ONCE
        until(lambda: tracker.warnings, "it warns")
        begun = time.monotonic()
        assert tracker.close(deadline=2.0) == 7
        assert time.monotonic() - begun < 30
        assert len(tracker.warnings) == 1
    finally:
        silent.close()


def test_refusing_and_willing(
    ledger: Ledger, folder: Path, server: Server, undisturbed: Undisturbed
) -> None:
    refusing = Refusing(server.port)
    tracker = Tracker(PLAN, ledger, folder, server.uri)
    try:
        assert sweep(ledger, folder, tracker, lambda number: None) < AT_ONCE
        until(lambda: tracker.warnings and refusing.refused, "it warns")
    finally:
        refusing.close()
    server.start()
    assert tracker.close(PATIENCE) == 0
    assert len(tracker.warnings) == 1
    assert held(server.uri) == undisturbed(ledger, folder)
