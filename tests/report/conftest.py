"""Results folders as fixtures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from .folders import trial, write


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes a results folder with the given trials; keywords change the plan."""
    return partial(write, tmp_path / "results")


@pytest.fixture
def usual(make: Callable[..., Path]) -> Path:
    """A baseline, a winner, one stopped, one diverged, one failed, with samples."""
    return make(
        [
            trial(90, 60, 40, 30, 26, 25, 24.5, 24.2, 24, baseline="DCGAN default", heldout=25.1),
            trial(50, 20, 12, 9, 8, 7.5, 7.2, 7.0, 7.1, heldout=7.6),
            trial(80, state="stopped", reason="not among the best third"),
            trial(70, 65, state="diverged", reason="the loss was not finite"),
            trial(state="failed", reason="out of memory", traceback="Traceback\n  step()\nOOM"),
        ],
        samples=True,
    )
