"""What is sent to a cluster as typed here, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.main import get_command

from sweeper.cli import app
from sweeper.space.source import InputError
from sweeper.sweep.jobs import Order, resume_order, run_order
from tests.sweep.plans import SPACES


def order(*words: str) -> Order:
    """What a command line would have a cluster run."""
    group = get_command(app)
    command = group.commands[words[0]]
    context = command.make_context(words[0], list(words[1:]))
    return {"run": run_order, "resume": resume_order}[words[0]](context)


RUN = ("run", str(SPACES / "ttur.yaml"))
COMMANDS = {"run": RUN, "resume": ("resume", "results/ttur")}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "uri", ["http://user:passw0rd@host:5000", "https://t0ken@host", "http://h/x?access_token=t0ken"]
)
def test_no_password_is_among_the_words_of_a_job(command: str, uri: str) -> None:
    """Whoever sees a cluster's jobs reads them."""
    with pytest.raises(InputError, match=r"so --tracking-uri has no password, but got") as refused:
        order(*COMMANDS[command], "--tracking-uri", uri)
    assert "MLFLOW_TRACKING_PASSWORD" in str(refused.value)
    assert "***" in str(refused.value)
    assert "passw0rd" not in str(refused.value)
    assert "t0ken" not in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("storage", ["shared/sweeps", "./shared", "~/sweeps"])
def test_a_storage_from_here_is_not_looked_for_there(command: str, storage: str) -> None:
    law = r"so --storage is a path from / or s3://BUCKET/FOLDER, but got .*--address local"
    with pytest.raises(InputError, match=law):
        order(*COMMANDS[command], "--storage", storage)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "mlruns", "file:mlruns", "./mlruns"])
def test_a_tracking_file_from_here_is_not_made_there(command: str, uri: str) -> None:
    law = r"so --tracking-uri is a server's, or a path from / .*, but got .*--address local"
    with pytest.raises(InputError, match=law):
        order(*COMMANDS[command], "--tracking-uri", uri)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("storage", ["/mnt/shared/sweeps", "s3://bucket/sweeps?region=us-east-2"])
@pytest.mark.parametrize(
    "uri", ["http://localhost:5000", "sqlite:////mnt/shared/mlflow.db", "file:///mnt/shared/mlruns"]
)
def test_what_means_the_same_there_is_sent_as_typed(command: str, storage: str, uri: str) -> None:
    words = order(*COMMANDS[command], "--storage", storage, "--tracking-uri", uri).words
    assert {f"--storage={storage}", f"--tracking-uri={uri}"} <= set(words)


def test_a_storage_of_the_environment_here_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster's own says where its trials are kept."""
    monkeypatch.setenv("SWEEPER_STORAGE", str(Path("shared")))
    assert not [word for word in order(*RUN).words if "storage" in word]
