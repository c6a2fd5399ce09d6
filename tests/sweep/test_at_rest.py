"""What the collector of garbage looks at while a sweep runs."""

from __future__ import annotations

import gc
from itertools import count
from typing import Any

import pytest

from sweeper.sweep import adapters
from sweeper.sweep.drive import at_rest


def collected(thing: Any) -> bool:
    """Whether the collector goes through a thing."""
    return any(found is thing for found in gc.get_objects())


def test_only_what_a_sweep_made_is_looked_at_while_it_runs() -> None:
    before: list[Any] = [[]]
    assert collected(before)
    with at_rest():
        made: list[Any] = [[]]
        assert not collected(before)
        assert collected(made)
    assert collected(before)


def test_what_a_worker_had_after_its_first_trial_is_looked_at_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapters, "ATTEMPTS", count())
    before: list[Any] = [[]]
    try:
        adapters.settle()
        assert collected(before)
        adapters.settle()
        assert not collected(before)
        made: list[Any] = [[]]
        adapters.settle()
        assert collected(made)
    finally:
        gc.unfreeze()
