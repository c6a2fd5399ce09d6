"""An MLflow server that is down or hung delays nothing, and is told all when it answers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.sweep.tracking import Tracker
from tests.sweep import synthetic
from tests.sweep.synthetic import ENDS, EVERY, PLAN
from tests.sweep.test_tracking import held

pytestmark = pytest.mark.slow

PATIENCE = 120.0
SERVED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A dozen processes that have nothing to do here.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place: Path = tmp_path / "results" / PLAN["name"]
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
def undisturbed(tmp_path: Path, migrated: Path) -> Callable[[Ledger, Path], object]:
    """What MLflow holds of a ledger when nothing goes wrong."""
    (tmp_path / "another").mkdir()
    shutil.copy(migrated, tmp_path / "another" / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'another' / 'mlflow.db'}"

    def tell(ledger: Ledger, folder: Path) -> object:
        tracker = Tracker(PLAN, ledger, folder, uri)
        assert tracker.close() == 0
        return held(uri)

    return tell


def sweep(ledger: Ledger, folder: Path, tracker: Tracker, between: Callable[[int], None]) -> float:
    """Run the synthetic sweep as a driver does, event by event. Returns the longest time that
    telling of one took. ``between`` is called before each trial."""
    longest = 0.0

    def told() -> None:
        nonlocal longest
        begun = time.monotonic()
        assert ledger.newest is not None
        tracker.observe(ledger.newest)
        longest = max(longest, time.monotonic() - begun)

    for number, end in enumerate(ENDS):
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


Undisturbed = Callable[[Ledger, Path], object]


def test_down_at_the_start_and_up_later(
    ledger: Ledger, folder: Path, server: Server, undisturbed: Undisturbed
) -> None:
    tracker = Tracker(PLAN, ledger, folder, server.uri)
    assert sweep(ledger, folder, tracker, lambda number: None) < 1.0
    until(lambda: tracker.warnings, "it warns")
    server.start()
    assert tracker.close(PATIENCE) == 0
    assert len(tracker.warnings) == 1
    assert held(server.uri) == undisturbed(ledger, folder)


def test_hung_for_good(ledger: Ledger, folder: Path, server: Server) -> None:
    """The sweep ends when its patience does, and says what is missing."""
    silent = socket.create_server(("127.0.0.1", 0))  # connects, and never reads
    try:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        tracker = Tracker(PLAN, ledger, folder, uri)
        assert sweep(ledger, folder, tracker, lambda number: None) < 1.0
        until(lambda: tracker.warnings, "it warns")
        begun = time.monotonic()
        assert tracker.close(deadline=2.0) == 7
        assert time.monotonic() - begun < 4.0
        assert len(tracker.warnings) == 1
    finally:
        silent.close()
