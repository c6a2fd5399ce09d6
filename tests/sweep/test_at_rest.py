"""What the collector of garbage looks at while a sweep runs."""

from __future__ import annotations

import gc
from typing import Any

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
