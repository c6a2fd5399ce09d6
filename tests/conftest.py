"""What all tests share: one thread, a cache of packed data, and a trial small enough to train."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from sweeper.verify import contracts

# The same examples in every run; how long one takes says nothing on a shared machine.
settings.register_profile("sweeper", derandomize=True, deadline=None, database=None)
settings.load_profile("sweeper")

Tree = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, so that no worker is left alone with one of them at the end."""

    def allowed(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return 0.0 if mark is None else float(mark.args[0])

    items.sort(key=allowed, reverse=True)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_every_warning() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # Else only the first of equal warnings is an error, in whichever test happens to run first.
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where data sets are packed and feature extractors kept, once for all tests."""
    # Each training run collects garbage first. What the imports made, the compiler's behind the
    # first optimizer among them, need not be looked at every time.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0).step()
    gc.collect()
    gc.freeze()
    yield tmp_path_factory.mktemp("cache")
    gc.unfreeze()


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Tree]:
    """A factory of plain trials that train in well under a second, with parts replaced."""

    return contracts.tiny
