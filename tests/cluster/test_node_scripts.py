"""What is run on a node before its Ray: the script that installs, by the real pip and uv from small
locks and a folder of wheels, and the one that serves MLflow's pages."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.prefix) / "bin"
SYSTEM = f"{sys.base_prefix}/bin:{os.defpath}"
FOUND = subprocess.run([BIN / "uv", "python", "find", "--offline", "3.11"], capture_output=True)

pytestmark = pytest.mark.slow


def wheel(folder: Path, name: str, version: str, files: Mapping[str, bytes]) -> str:
    """Make a wheel, and return the line that locks it."""
    info = f"{name}-{version}.dist-info"
    held = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = [f"{info}/RECORD,,"]
        for where, data in held.items():
            entry = zipfile.ZipInfo(where)
            entry.external_attr = 0o100755 << 16  # a file that may be run
            archive.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{where},sha256={digest},{len(data)}")
        archive.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} --hash=sha256:{digest}\n"


def installed(name: str) -> Mapping[str, bytes]:
    """The files of a distribution of this environment, without what says how it came here."""
    found = distribution(name)
    kept = [f for f in found.files or () if f.suffix != ".pyc" and ".dist-info" not in f.parts[0]]
    points = f"{name}-{found.version}.dist-info/entry_points.txt"
    files = {str(file): Path(str(found.locate_file(file))).read_bytes() for file in kept}
    return {**files, points: (found.read_text("entry_points.txt") or "").encode()}


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """What Ray has copied to a node, whose locks name what a folder beside it holds."""
    node, wheels = tmp_path / "node", tmp_path / "wheels"
    wheels.mkdir()
    shutil.copytree(ROOT / "cluster", node / "cluster")
    shutil.copytree(
        ROOT / "sweeper", node / "sweeper", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, node / name)
    program = f'#!/bin/sh\nexec {BIN}/uv "$@"\n'.encode()
    uv = distribution("uv").version
    (node / "requirements-uv.lock").write_text(
        wheel(wheels, "uv", uv, {f"uv-{uv}.data/scripts/uv": program})
    )
    builder = distribution("setuptools").version
    (node / "requirements.lock").write_text(
        wheel(wheels, "setuptools", builder, installed("setuptools"))
    )
    (node / "more.lock").write_text(wheel(wheels, "more", "1", {"more.py": b"SAID = 1\n"}))
    return node


def install(node: Path) -> subprocess.CompletedProcess[str]:
    """As Ray does it on a node, where nothing but the folder of wheels can be reached."""
    around = node.parent
    return subprocess.run(
        ["bash", node / "cluster/install.sh", "more.lock"],
        cwd=around,
        env={
            "PATH": SYSTEM,
            "HOME": str(around),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(around / "wheels"),
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(around / "wheels"),
            "UV_CACHE_DIR": str(around / "cache"),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )


@pytest.mark.timeout(600)
@pytest.mark.skipif(FOUND.returncode != 0, reason="no Python 3.11 here, and none is downloaded")
def test_a_node_is_installed_from_its_locks_and_again_when_one_changes(node: Path) -> None:
    ran = install(node)
    assert ran.returncode == 0, ran.stdout
    ask = [str(node / ".venv/bin/python"), "-c", "import more, sweeper; print(more.SAID, sweeper)"]
    said = subprocess.run(ask, capture_output=True, text=True, cwd="/", check=True).stdout
    assert said.startswith("1 ")
    assert str(node / "sweeper/__init__.py") in said
    assert os.access(node / ".venv/bin/sweeper", os.X_OK)

    assert install(node).stdout == "sweeper is installed\n"

    (node / "more.lock").write_text(
        wheel(node.parent / "wheels", "more", "2", {"more.py": b"SAID = 2\n"})
    )
    assert install(node).returncode == 0
    said = subprocess.run(ask, capture_output=True, text=True, cwd="/", check=True).stdout
    assert said.startswith("2 ")

    # What the index has under the name that the lock has, but is something else.
    line = wheel(node.parent / "wheels", "more", "3", {"more.py": b"SAID = 3\n"})
    wheel(node.parent / "wheels", "more", "3", {"more.py": b"SAID = 'evil'\n"})
    (node / "more.lock").write_text(line)
    for _ in range(2):  # a node that failed to install is not taken for one that is installed
        ran = install(node)
        assert ran.returncode != 0
        assert "Hash mismatch for `more==3`" in ran.stdout
    said = subprocess.run(ask, capture_output=True, text=True, cwd="/", check=True).stdout
    assert said.startswith("2 ")


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Path]:
    """A folder of results; whatever was started for it is ended."""
    folder = tmp_path / "results"
    folder.mkdir()
    yield folder
    for process in serving(folder):
        os.killpg(process, signal.SIGKILL)


def serving(folder: Path) -> list[int]:
    """The leaders of the sessions that were started for a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if f"{folder}/mlflow.db" in words and os.getsid(int(process.name)) == int(process.name):
            found.append(int(process.name))
    return found


def answer(url: str) -> str:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.timeout(300)
def test_mlflow_is_served_on_the_loopback_and_only_once(results: Path) -> None:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    words = ["bash", str(ROOT / "cluster/mlflow.sh"), str(results), str(port)]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def start() -> str:
        return subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    assert start() == f"MLflow: http://127.0.0.1:{port}\n"
    assert answer(f"http://127.0.0.1:{port}/health") == "OK", (results / "mlflow.log").read_text()
    assert start() == f"something serves port {port} already\n"
    assert len(serving(results)) == 1
    listening = [
        line.split()[1].partition(":")[0]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    ]
    assert listening == ["0100007F"]
    assert (results / "mlflow.db").is_file()
