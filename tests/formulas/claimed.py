"""The claims of one module of ``sweeper.verify``."""

from __future__ import annotations

from types import ModuleType

from sweeper.verify.claims import CHECKS, Check


def claimed_in(module: ModuleType) -> list[Check]:
    """Its checks, each once, however many techniques it is about."""
    every = (check for checks in CHECKS.values() for check in checks)
    return list(dict.fromkeys(check for check in every if check.__module__ == module.__name__))
