"""Trials on tiny networks, one for every technique."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sweeper.catalog.datasets.store import Example, pack
from sweeper.config import Trial
from sweeper.trial.loop import Training
from tests.contracts.cases import Case, trial_with


class LargeDigits:
    """Digits of 16 px: the smallest size at which a DCGAN discriminator has a normalised layer."""

    name = "large_digits"

    def fingerprint(self) -> str:
        return "digits of 16 px"

    def __len__(self) -> int:
        return 200

    def examples(self) -> Iterator[Example]:
        images, labels = load_digits(return_X_y=True)
        for image, label in zip(images[:200], labels, strict=False):
            small = np.rint(image.reshape(1, 8, 8) * (255 / 16)).astype(np.uint8)
            yield small.repeat(2, 1).repeat(2, 2), int(label)


@pytest.fixture(scope="session")
def large_digits(cache: Path) -> Path:
    """A packed store of digits of 16 px."""
    return pack(LargeDigits(), cache / "data").path


@pytest.fixture(scope="session")
def trial_of(cache: Path, tiny: Callable[..., dict[str, Any]]) -> Callable[[Case], Trial]:
    """The trial in which a technique is tried, on images if it can be, else on points."""
    store = pack(LargeDigits(), cache / "data")
    bases = [
        tiny(data={"packed": {"path": str(store.path)}}),
        tiny(data={"ring": {"length": 200}}, architecture={"mlp_gan": {"hidden": 8}}),
    ]
    return lambda case: trial_with(case, bases)


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
