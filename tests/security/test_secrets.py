"""Passwords, tokens and keys are in no file, no record and on no screen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.redact import hide
from tests.sweep.plans import SMALL, SPACES

SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "mlflow-passw0rd",
    "MLFLOW_TRACKING_TOKEN": "mlflow-t0ken",
    "AWS_ACCESS_KEY_ID": "AKIA-acce55-key",
    "AWS_SECRET_ACCESS_KEY": "aws-s3cr3t/key",
    "AWS_SESSION_TOKEN": "aws-sess10n",
    "RAY_AUTH_TOKEN": "ray-c0ffee-t0ken",
}
PASSWORD = "0f-the-addre55"
TELLS = """
import logging
import os
import warnings

from torch import Tensor

from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores


@losses.register()
class Telling(Loss):
    def discriminator(self, scores: Scores) -> Tensor:
        told = " ".join(os.environ.values()) + " http://user:0f-the-addre55@host/x"
        logging.getLogger("sweeper.mine").warning("it is %s", told)
        warnings.warn(told, RuntimeWarning)
        raise RuntimeError(told)

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()
"""
TYPED = ("run", "tells.yaml", "--inline", "--use", "tells.py")
SPACE = """
use: [tells.py]
extends: base/dcgan.yaml
trial:
  loss: telling
  architecture: {dcgan: {channels: 4}}
  batch: {size: 8}
  evaluation: {features: random_conv, samples: 16, full_samples: 16}
budget: {max: 0.048}
search: {trials: 1}
"""


def test_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
        assert hide(f"a {value} b") == "a *** b"
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "in-parallel")
    monkeypatch.setenv("SHORT_TOKEN", "true")
    assert hide("in-parallel is true") == "in-parallel is true"
    assert hide("http://user:pa@ss@host:5000/x") == "http://***@host:5000/x"
    assert hide("https://ghp_t0ken@host/x at host") == "https://***@host/x at host"
    assert hide("s3://b/x?a=1&password=p&scheme=http") == "s3://b/x?a=1&password=***&scheme=http"
    assert hide("/a@b sqlite:////a/b.db?x=1 a:b@c") == "/a@b sqlite:////a/b.db?x=1 a:b@c"


@pytest.fixture
def desk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="swk-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def environment(desk: Path) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "AWS_"))}
    (desk / "tmp").mkdir(exist_ok=True)
    return {**plain, "OMP_NUM_THREADS": "1", "TMPDIR": str(desk / "tmp")}


def told(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """All that is written under a folder; tables as text, since they are compressed."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            yield path, str(pq.read_table(path).to_pylist()).encode()
        elif path.is_file() and path.name != "tells.py" and path.parent.name != "use":
            yield path, path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "tracking", [(), ("--tracking-uri", f"http://user:{PASSWORD}@127.0.0.1:9")]
)
def test_a_sweep_writes_and_shows_no_secret(desk: Path, tracking: tuple[str, ...]) -> None:
    (desk / "tells.py").write_text(TELLS)
    (desk / "tells.yaml").write_text(SPACE)
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *TYPED, *tracking],
        capture_output=True,
        cwd=desk,
        env={**environment(desk), **SECRETS},
        timeout=300,
    )
    folder = desk / "results" / "tells"
    with Ledger(folder, write=False) as ledger:
        assert ledger[0].state == "failed"
        assert "RuntimeError" in str(ledger[0].reason)
        assert "***" in str(ledger[0].reason)
    texts = {str(path): data for path, data in told(desk)}
    assert texts[str(folder / "trials" / "00000" / "log.txt")].count(b"***") > len(SECRETS)
    assert (desk / "results" / "mlflow.db").exists() == (not tracking)
    texts |= {"stdout": done.stdout, "stderr": done.stderr}
    if tracking:
        assert b"MLflow at http://***@127.0.0.1:9 takes no records" in done.stdout
        assert b"http://***@127.0.0.1:9" in texts[str(folder / "sweep.json")]
    for secret in (*SECRETS.values(), PASSWORD):
        assert [name for name, data in texts.items() if secret.encode() in data] == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_the_token_of_a_local_ray_is_on_no_command_line(desk: Path) -> None:
    """And in no file: neither of the results, nor of the session."""
    words = [w for o in SMALL if not o.startswith("budget") for w in ("--set", o)]
    command = [sys.executable, "-m", "sweeper.cli", "run", str(SPACES / "ttur.yaml")]
    command += ["--address", "local", "--trials", "2", "--set", "budget.max=4.5", *words]
    with (desk / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=desk,
            env=environment(desk),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline, tokens = time.monotonic() + 240, set[str]()
        log = desk / "results" / "ttur" / "trials" / "00000" / "log.txt"
        while not log.exists():
            assert process.poll() is None, (desk / "output").read_text()
            assert time.monotonic() < deadline, (desk / "output").read_text()
            time.sleep(0.2)
        lines = []
        for pid in session(process.pid):
            lines.append((Path("/proc") / str(pid) / "cmdline").read_bytes())
            for word in (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0"):
                if word.startswith(b"RAY_AUTH_TOKEN="):
                    tokens.add(word.partition(b"=")[2].decode())
        (token,) = tokens
        assert len(token) >= 32
        assert any(b"gcs_server" in line for line in lines)
        assert [line for line in lines if token.encode() in line] == []
        assert [path for path, data in told(desk) if token.encode() in data] == []
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)


def session(leader: int) -> list[int]:
    """The live processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            (folder / "environ").read_bytes()
        except (OSError, IndexError):
            continue
        if of == leader:
            found.append(int(folder.name))
    return found
