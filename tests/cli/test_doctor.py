"""The doctor finds what is wrong with a machine, on one screen, and nothing where nothing is."""

from __future__ import annotations

import fcntl
import http.server
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.sweep import doctor
from sweeper.sweep.doctor import Check, Finding, Machine, examine, told

TOLD = ("name", "level", "says", "advice")


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Machine]:
    def made(**changes: object) -> Machine:
        settings = {"out": tmp_path / "results", "environ": {"HOME": str(tmp_path)}}
        return Machine(**{**settings, "temps": (tmp_path,), **changes})  # type: ignore[arg-type]

    return made


def only(check: Check, machine: Machine) -> Finding:
    (finding,) = check(machine)
    return finding


def test_one_screen_and_an_exit_code(tmp_path: Path) -> None:
    words = ["doctor", "--out", str(tmp_path / "results"), "--address", "local"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert done.exit_code == any(line.startswith("fail ") for line in lines)
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    plain = json.loads(done.stdout)
    assert plain["schema"] == 1
    names = {finding["name"] for finding in plain["findings"]}
    assert {"python", "torch", "ray", "optuna", "mlflow", "devices", "results", "token"} <= names
    assert {"open Ray", "leftovers", "sweeps", "MLflow", "storage", "runs on"} <= names
    assert all(tuple(finding) == TOLD for finding in plain["findings"])
    assert plain["ok"] == (done.exit_code == 0)
    assert not (tmp_path / "results").exists()


def test_versions_outside_of_the_range(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(finding.level == "ok" for finding in doctor.versions(machine()))
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "mlflow":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.54.0" if name == "ray" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {finding.name: finding for finding in doctor.versions(machine())}
    assert found["ray"].level == found["mlflow"].level == "fail"
    assert found["ray"].says == "2.54.0, but sweeper needs >=2.55"
    assert found["torch"].level == "ok"


def test_little_room(machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE", 1 << 60)
    monkeypatch.setattr(doctor, "SHARED", 1 << 60)
    monkeypatch.setattr(doctor, "FILES", 1 << 60)
    found = {finding.name: finding for finding in doctor.room(machine())}
    assert found["results"].level == found["temp folder"].level == "fail"
    assert found["shared memory"].level == found["open files"].level == "warn"
    assert all(finding.advice for finding in found.values())


def test_tokens(machine: Callable[..., Machine], tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert only(doctor.token, machine()).level == "ok"
    assert only(doctor.token, machine(environ=home | {"RAY_AUTH_MODE": "token"})).level == "fail"
    assert only(doctor.token, machine(environ=home | {"RAY_AUTH_MODE": "disabled"})).level == "warn"
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("c0ffee")
    path.chmod(0o644)
    finding = only(doctor.token, machine())
    assert finding.level == "fail"
    assert "others may use it" in finding.says
    assert finding.advice.startswith(f"chmod 600 {path}")
    path.chmod(0o600)
    finding = only(doctor.token, machine(environ=home | {"RAY_AUTH_MODE": "token"}))
    assert finding.level == "ok"
    assert "c0ffee" not in str(finding)
    path.rename(tmp_path / "elsewhere")
    elsewhere = home | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "elsewhere")}
    assert only(doctor.token, machine(environ=elsewhere)).says.endswith("elsewhere")


SERVER = """
import http.server, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2]))
        self.end_headers()

    def log_message(self, *words):
        pass

server = http.server.HTTPServer((sys.argv[1], 0), Answer)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Callable[..., tuple[int, int]]]:
    """Starts what looks like a part of a Ray, and listens like one: its process and its port."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, host: str, answer: int = 200, mode: str = "disabled") -> tuple[int, int]:
        (tmp_path / name).write_text(SERVER)
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / name), host, str(answer)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "RAY_AUTH_MODE": mode},
        )
        started.append(process)
        assert process.stdout is not None
        return process.pid, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def seen(machine: Machine, pid: int) -> list[Finding]:
    return [finding for finding in doctor.doors(machine) if f"process {pid})" in finding.says]


def test_an_open_dashboard_is_found(
    machine: Callable[..., Machine], part: Callable[..., tuple[int, int]]
) -> None:
    pid, port = part("dashboard.py", "0.0.0.0")
    (finding,) = seen(machine(), pid)
    assert finding.level == "fail"
    assert f"Ray's dashboard (process {pid}) lets anybody in at port {port}" in finding.says
    assert "RAY_AUTH_MODE=token" in finding.advice


def test_an_open_control_store_is_found(
    machine: Callable[..., Machine], part: Callable[..., tuple[int, int]]
) -> None:
    pid, port = part("gcs_server", "0.0.0.0")
    (finding,) = seen(machine(), pid)
    assert finding.level == "fail"
    assert f"Ray's control store (process {pid}) lets anybody in at port {port}" in finding.says


@pytest.mark.parametrize(
    ("name", "host", "answer", "mode"),
    [
        ("dashboard.py", "127.0.0.1", 200, "disabled"),
        ("dashboard.py", "0.0.0.0", 401, "token"),
        ("gcs_server", "127.0.0.1", 200, "disabled"),
        ("gcs_server", "0.0.0.0", 200, "token"),
        ("other.py", "0.0.0.0", 200, "disabled"),
    ],
)
def test_what_is_guarded_is_no_finding(
    machine: Callable[..., Machine],
    part: Callable[..., tuple[int, int]],
    name: str,
    host: str,
    answer: int,
    mode: str,
) -> None:
    pid, _ = part(name, host, answer, mode)
    assert seen(machine(), pid) == []


def test_leftovers_are_told_and_removed_and_nothing_else(
    machine: Callable[..., Machine], tmp_path: Path
) -> None:
    old = time.time() - 2 * doctor.FRESH
    for name in ("swp-dead", "swp-alive", "swp-fresh", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
        if name != "swp-fresh":
            os.utime(tmp_path / name, (old, old))
    (tmp_path / "swp-link").symlink_to(tmp_path / "mine")
    words = [sys.executable, "-c", "input(0)", f"--temp_dir={tmp_path}/swp-alive/session"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # A process that has only just begun to be another one shows no words yet.
        assert process.stdout is not None
        assert process.stdout.read(1) == b"0"
        finding = only(doctor.leftovers, machine())
        assert finding.level == "warn"
        assert finding.says.endswith(f"GiB: {tmp_path}/swp-dead")
        assert (tmp_path / "swp-dead").exists()
        assert only(doctor.leftovers, machine(fix=True)).says.startswith("removed 1 ")
        assert only(doctor.leftovers, machine()).says == "none"
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"swp-alive", "swp-fresh", "swp-link", "mine"}
        assert (tmp_path / "mine" / "file").exists()
        process.communicate(b"\n")


HOLD = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, f"process {os.getpid()} on {sys.argv[2]}".encode())
if os.fork() == 0:
    os.close(1)
    import time
    time.sleep(120)
print(os.getpid(), flush=True)
"""


def test_a_folder_that_a_dead_driver_holds(machine: Callable[..., Machine], tmp_path: Path) -> None:
    """What the driver left behind has its lock, as a child that outlives it would."""
    lock = tmp_path / "results" / "ttur" / "ledger.lock"
    lock.parent.mkdir(parents=True)
    words = [sys.executable, "-c", HOLD, str(lock), socket.gethostname()]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, timeout=60, start_new_session=True
    )
    pid = int(done.stdout)
    try:
        held, sweeps = doctor.holders(machine())
        assert held.level == "fail"
        assert (
            f"ttur is held by process {pid} on {socket.gethostname()}, which is dead" in held.says
        )
        assert sweeps.says == "none runs"
    finally:
        os.killpg(pid, signal.SIGKILL)
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.truncate()
        file.flush()
        finding = only(doctor.holders, machine())
        assert finding == Finding("sweeps", "ok", f"1 running in {tmp_path}/results")


def test_mlflow_that_answers_and_that_does_not(machine: Callable[..., Machine]) -> None:
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/health"
            known = self.headers.get("Authorization") in (None, "Basic dXNlcjpzM2NyM3Rwdw==")
            self.send_response(200 if there and known else 403)
            self.end_headers()

        def log_message(self, format: str, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        secret = uri.replace("//", "//user:s3cr3tpw@")
        for each in (uri, secret):
            assert only(doctor.tracking, machine(tracking=each)).level == "ok"
        wrong = uri.replace("//", "//user:other@")
        assert "Forbidden" in only(doctor.tracking, machine(tracking=wrong)).says
        server.shutdown()
    finding = only(doctor.tracking, machine(tracking=secret))
    assert finding.level == "warn"
    assert "does not answer at http://***@127.0.0.1" in finding.says
    assert "s3cr3tpw" not in str(finding)


def test_a_database_that_is_not_sound(machine: Callable[..., Machine], tmp_path: Path) -> None:
    assert only(doctor.tracking, machine()).level == "ok"
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mlflow.db").write_bytes(b"no database at all" * 100)
    assert only(doctor.tracking, machine()).level == "fail"


def test_the_storage_is_tried(machine: Callable[..., Machine], tmp_path: Path) -> None:
    good = machine(storage=str(tmp_path / "shared"))
    assert only(doctor.storage, good).level == "ok"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (tmp_path / "file").write_text("")
    assert only(doctor.storage, machine(storage=str(tmp_path / "file" / "x"))).level == "fail"
    named = machine(environ={"HOME": str(tmp_path), "SWEEPER_STORAGE": "ftp://host/x"})
    assert only(doctor.storage, named).level == "fail"


def test_the_address_is_followed(machine: Callable[..., Machine]) -> None:
    assert only(doctor.address, machine(address="local")).says.startswith("a Ray of its own")
    finding = only(doctor.address, machine(address="ray://head:10001"))
    assert finding.level == "fail"
    assert "\n" not in finding.says


def test_a_look_that_fails_is_a_finding(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(machine: Machine) -> Iterator[Finding]:
        raise RuntimeError("http://user:s3cr3tpw@host")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    (finding,) = examine(machine())
    assert (finding.level, "s3cr3tpw" in finding.says) == ("warn", False)
    assert told([finding], as_json=False).endswith("nothing to be mended, 1 to be looked at")
