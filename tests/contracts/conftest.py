"""Trials on tiny networks, one for every technique."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.catalog.datasets.store import pack
from sweeper.config import Trial
from sweeper.trial.loop import Training
from sweeper.verify.contracts import Case, ToldDigits, bases, trial_with


@pytest.fixture(scope="session")
def told_digits(cache: Path) -> Path:
    """A packed store of digits of 16 px, with sources, masks and styles."""
    return pack(ToldDigits(), cache / "data").path


@pytest.fixture(scope="session")
def trial_of(cache: Path) -> Callable[[Case], Trial]:
    """The trial in which a technique is tried, on images if it can be, else on points."""
    tried = bases(cache)
    return lambda case: trial_with(case, tried)


@pytest.fixture(scope="session")
def finished(cache: Path, trial_of: Callable[[Case], Trial]) -> Callable[[Case], dict[str, Any]]:
    """The state after training a technique's trial to its end without a stop, computed once."""
    states: dict[str, dict[str, Any]] = {}

    def state(case: Case) -> dict[str, Any]:
        if str(case) not in states:
            training = Training(trial_of(case), cache)
            while not training.finished:
                training.advance()
            states[str(case)] = training.state_dict()
        return states[str(case)]

    return state
