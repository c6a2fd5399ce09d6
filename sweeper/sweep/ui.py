"""The MLflow pages of a sweep, served on this machine for as long as somebody looks at them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any

from sweeper.sweep import views

HOST = "127.0.0.1"
PORT = 5000
PATIENCE = 180.0  # seconds that a loaded machine may need to import MLflow

Say = Callable[[str], None]


class PagesError(RuntimeError):
    """There is nothing to show, or no way to show it."""


def serve(folder: Path, port: int | None = None, say: Say = print) -> None:
    """Show the sweep in a results folder, or all sweeps beside it, until Ctrl-C or SIGTERM.

    Raises PagesError when MLflow was never told of a sweep there, when the port is taken, or when
    the server does not come up.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with serving(folder, port, say) as (base, server):
            for view, link in _links(base, folder).items():
                say(f"{view:<12} {link}")
            say("Ctrl-C ends the server. MLflow's Assistant panel stays closed once closed.")
            if server.wait() != 0:
                raise PagesError(
                    f"a server runs until it is told to end, but {base} ended by itself"
                )
    except KeyboardInterrupt:
        say("The server has ended.")
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def serving(
    folder: Path, port: int | None = None, say: Say = print
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run MLflow's server for a results folder: its address and its process."""
    database = find_database(folder)
    port = _port(port)
    base = f"http://{HOST}:{port}"
    with tempfile.TemporaryFile() as log:
        server = _start(database, port, log)
        try:
            _wait(base, server, log, say)
            yield base, server
        finally:
            _end(server)


def find_database(folder: Path) -> Path:
    """The MLflow database that a results folder shares with its neighbours, or that lies in it."""
    places = [folder.resolve().parent / "mlflow.db", folder.resolve() / "mlflow.db"]
    for place in places:
        if place.is_file():
            return place
    raise PagesError(
        f"a sweep is shown from the mlflow.db beside its results folder, but {places[0]} does not "
        "exist: no sweep was run there, or it was tracked elsewhere"
    )


def _port(port: int | None) -> int:
    """The port asked for, or the usual one, or any that is free."""
    wanted = PORT if port is None else port
    for candidate in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError as error:
                if port is not None:
                    raise PagesError(
                        f"--port is a free port, but {port} is not: {error}"
                    ) from error
            else:
                return int(probe.getsockname()[1])
    raise PagesError(f"a page needs a free port, but {HOST} has none")


def _start(database: Path, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    artifacts = database.parent / "mlartifacts"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", artifacts.as_uri()]
    quiet = {
        # One process less, of 240 MB; it serves features that a sweep has no use for.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    return subprocess.Popen(
        command,
        # Whatever MLflow leaves in its working directory belongs with the results.
        cwd=database.parent,
        env={**os.environ, **quiet},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        # A group of its own, so that Ctrl-C reaches the server once, through _end.
        start_new_session=True,
    )


def _wait(base: str, server: subprocess.Popen[bytes], log: IO[bytes], say: Say) -> None:
    say("Starting MLflow; this takes some seconds ...")
    begun = told = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        if server.poll() is not None:
            break
        try:
            _get(f"{base}/health")
        except OSError:
            time.sleep(0.2)
        else:
            return
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"... {told - begun:.0f} s")
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    raise PagesError(
        "\n".join([f"MLflow's server answers at {base}, but it did not:", *lines[-15:]])
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the workers that it started."""
    for signum, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(server.pid, signum)
            server.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()


def _links(base: str, folder: Path) -> dict[str, str]:
    """The pages of the sweep, or the front page where the folder is not one that MLflow knows."""
    path = folder / "sweep.json"
    if not path.is_file():
        return {"all sweeps": base}
    plan = json.loads(path.read_text())
    name = urllib.parse.quote(f"sweeper/{plan['space']}", safe="")
    try:
        answer = _get(f"{base}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")
    except urllib.error.HTTPError:
        return {"all sweeps": base}
    experiment = json.loads(answer)["experiment"]["experiment_id"]
    return views.links(base, experiment, plan["id"])


def _get(url: str) -> bytes:
    # A proxy from the environment has nothing to do with this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


def _interrupt(signum: int, frame: FrameType | None) -> Any:
    raise KeyboardInterrupt
