"""Claims about techniques: what was checked, what came out, and what had to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Check = Callable[[], Iterator["Claim"]]


@dataclass(frozen=True)
class Claim:
    """One number that has one right value, by a formula or a theorem.

    It holds when it is ``within`` so much of what is expected: absolutely, or, for what is
    expected to be larger than 1, relatively.
    """

    what: str
    measured: float
    expected: float
    within: float = 1e-6

    @property
    def ok(self) -> bool:
        if not (math.isfinite(self.measured) and math.isfinite(self.expected)):
            return self.measured == self.expected
        return abs(self.measured - self.expected) <= self.within * max(1.0, abs(self.expected))


CHECKS: dict[str, list[Check]] = {}
"""The checks of every technique, by its name in the catalog."""


def check(*techniques: str) -> Callable[[Check], Check]:
    """Say that a function makes claims about some techniques, each of which it decides."""

    def add(function: Check) -> Check:
        for technique in techniques:
            CHECKS.setdefault(technique, []).append(function)
        return function

    return add
