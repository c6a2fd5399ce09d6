"""A sweep of a fraction of a second a trial, run from Python, once for all tests of this folder."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import sweeper
from sweeper.ledger.ledger import Event
from tests.sweep.plans import SMALL, SPACES

OVERRIDES = {path: YAML(typ="safe").load(value) for path, value in (s.split("=") for s in SMALL)}


class Deaf:
    """In the place of MLflow, which takes many seconds to be imported, and has tests of its own."""

    warnings: tuple[str, ...] = ()

    def __init__(self, *about: object) -> None:
        pass

    def observe(self, event: Event) -> None:
        pass

    def close(self, deadline: float) -> int:
        return 0

    def pages(self) -> list[str]:
        return []


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> sweeper.Results:
    """A baseline and two more trials, run without a word."""
    out = tmp_path_factory.mktemp("results")
    overrides = OVERRIDES | {"evaluation.metrics": ["kid"]}
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        patch.setattr("sweeper.sweep.drive.Tracker", Deaf)
        found = sweeper.run(
            SPACES / "ttur.yaml",
            data="digits",
            trials=3,
            seed=0,
            overrides=overrides,
            out=out,
            inline=True,
            quiet=True,
        )
    assert said.getvalue() == ""
    return found


@pytest.fixture
def folder(results: sweeper.Results) -> Path:
    return results.folder
