"""Small search spaces, written to a file and loaded as a sweep would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import Trial as Asked

from sweeper.space.source import InputError, Source
from sweeper.space.space import SearchSpace, load

optuna.logging.set_verbosity(optuna.logging.ERROR)

Load = Callable[..., SearchSpace]
BUDGET = Source({"budget": {"max": 9.0}}, {})


@pytest.fixture
def space(tmp_path: Path) -> Load:
    """A search space from its text, upon the shipped DCGAN and the digits."""

    def make(text: str = "trial: {}", *overrides: str, base: bool = True) -> SearchSpace:
        path = tmp_path / "space.yaml"
        path.write_text(f"extends: base/dcgan.yaml\n{text}" if base else text)
        return load(path, preset=BUDGET, overrides=overrides, data={"digits": {}})

    return make


@pytest.fixture
def refused(space: Load, tmp_path: Path) -> Callable[..., str]:
    """Why a search space is refused."""

    def why(text: str, *overrides: str, **more: Any) -> str:
        with pytest.raises(InputError) as caught:
            space(text, *overrides, **more)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return why


@pytest.fixture
def asks() -> Callable[..., list[Asked]]:
    """Draws of Optuna's random sampler."""

    def make(n: int, seed: int = 0) -> list[Asked]:
        study = optuna.create_study(sampler=RandomSampler(seed=seed))
        return [study.ask() for _ in range(n)]

    return make
