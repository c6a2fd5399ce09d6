"""What draws that are not Optuna's have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from sweeper.space.holes import Float, Int


class Draw(ABC):
    """Fills holes, and notes in ``params`` what it gave."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> Any:
        return self._note(name, self.number(name, Float(low, high, log, step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> Any:
        return self._note(name, self.number(name, Int(low, high, log, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._note(name, self.option(name, choices))

    def _note(self, name: str, value: Any) -> Any:
        self.params[name] = value
        return value

    @abstractmethod
    def number(self, name: str, hole: Float | Int) -> Any:
        """A number for a parameter, in its range."""

    @abstractmethod
    def option(self, name: str, options: Sequence[Any]) -> Any:
        """One of its options for a parameter."""
