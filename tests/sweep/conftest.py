"""What the tests of sweeps share: MLflow's tables, made once."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.sweep.commands import Command


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; making the tables takes seconds, a copy of them nothing."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the import are MLflow's own
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A system temp folder of our own, short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="swt-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def command(temporary: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(
        *words: str | Path,
        program: Sequence[str] = ("sweeper.cli",),
        also: Mapping[str, str] = MappingProxyType({}),
    ) -> Command:
        started.append(Command(temporary, *words, program=program, also=also))
        return started[-1]

    yield start
    for each in started:
        each.end()
