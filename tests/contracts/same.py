"""Equality of whole training states, bit by bit, and of what a move should not touch."""

from __future__ import annotations

from sweeper.game import Player
from sweeper.trial.loop import Training
from sweeper.verify.contracts import differences, trespasses

__all__ = ["differences", "leaves_the_other_alone"]


def leaves_the_other_alone(training: Training) -> set[Player]:
    """Play a round, and see that each of its moves changes its players, and nobody else. Returns
    who moved."""
    moved = set[Player]()
    assert list(trespasses(training, moved)) == []
    return moved
