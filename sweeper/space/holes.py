"""Holes: the places in a trial that a search fills."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, cast

Scalar = bool | int | float | str | None


class Suggester(Protocol):
    """The part of an Optuna trial that fills holes."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Float:
    """A real number between ``low`` and ``high``, uniform or uniform in its logarithm."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    default: float | None = None

    def fill(self, suggester: Suggester, path: str) -> Any:
        return suggester.suggest_float(path, self.low, self.high, step=self.step, log=self.log)

    def plainest(self) -> float:
        """The default of the knob, or the middle of the range."""
        if self.default is not None and self.low <= self.default <= self.high:
            return self.default
        if self.log:
            return math.sqrt(self.low * self.high)
        if self.step is not None:
            return self.low + self.step * round((self.high - self.low) / self.step / 2)
        return (self.low + self.high) / 2

    def quantile(self, share: float) -> float:
        """The value below which so large a share, of at least 0 and below 1, of all draws lies."""
        if (values := self.values()) is not None:
            return values[int(share * len(values))]
        if self.log:
            value = self.low * math.exp(share * math.log(self.high / self.low))
            return min(value, self.high)
        return self.low + share * (self.high - self.low)

    def share(self, value: float) -> float:
        """Where ``quantile`` has a value."""
        if (values := self.values()) is not None:
            return (bisect_left(values, value) + 0.5) / len(values)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def values(self) -> Sequence[float] | None:
        """Every value, where steps lead from one to the next."""
        if self.step is None:
            return None
        # In decimal numbers, as it was written: 0.1 and two steps of 0.1 are 0.3.
        low, high, step = (Fraction(str(n)) for n in (self.low, self.high, self.step))
        return [float(low + step * i) for i in range((high - low) // step + 1)]

    def describe(self) -> dict[str, Any]:
        return {"kind": "float", "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Int:
    """An integer from ``low`` to ``high``, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    default: int | None = None

    def fill(self, suggester: Suggester, path: str) -> Any:
        return suggester.suggest_int(path, self.low, self.high, step=self.step, log=self.log)

    def plainest(self) -> int:
        return (
            self.default
            if self.default is not None and self.low <= self.default <= self.high
            else self.low
        )

    def quantile(self, share: float) -> int:
        """The value below which so large a share, of at least 0 and below 1, of all draws lies. On
        a logarithmic scale each has what is nearer to it than to the others."""
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            nearest = round(low * math.exp(share * math.log(high / low)))
            return min(max(nearest, self.low), self.high)
        return self.values()[int(share * len(self.values()))]

    def share(self, value: int) -> float:
        """Where ``quantile`` has the middle of a value."""
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            return math.log(value / low) / math.log(high / low)
        return (self.values().index(value) + 0.5) / len(self.values())

    def values(self) -> Sequence[int]:
        """Every value."""
        return range(self.low, self.high + 1, self.step)

    def describe(self) -> dict[str, Any]:
        return {"kind": "int", "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True)
class Choice:
    """One of several values or branches, each with a label of its own.

    The holes of a branch are asked for only when it is chosen. A label that is none of them, which
    only a baseline has, stands for itself.
    """

    labels: tuple[Scalar, ...]
    options: tuple[Any, ...]
    default: Any = None

    def fill(self, suggester: Suggester, path: str) -> Any:
        label = suggester.suggest_categorical(path, self.labels)
        if label not in self.labels:
            return label
        return fill(self.options[self.labels.index(label)], suggester, path)

    def plainest(self) -> Scalar:
        """The default of the knob, or to leave it out, or the first."""
        if self.default in self.labels:
            return cast(Scalar, self.default)
        return next((label for label in self.labels if label is False), self.labels[0])

    def describe(self) -> dict[str, Any]:
        return {"kind": "choice", "choices": list(self.labels)}


@dataclass(frozen=True)
class Maybe:
    """Something that may be left out."""

    inner: Any

    def fill(self, suggester: Suggester, path: str) -> Any:
        return (
            fill(self.inner, suggester, path)
            if suggester.suggest_categorical(path, (False, True))
            else False
        )

    def plainest(self) -> bool:
        return False

    def describe(self) -> dict[str, Any]:
        return {"kind": "choice", "choices": [False, True]}


@dataclass(frozen=True)
class Ratio:
    """A value searched as a multiple of another: the parameter is the ratio, the value derived."""

    of: str
    hole: Float

    def fill(self, suggester: Suggester, path: str) -> Any:
        return Multiple(self.of, self.hole.fill(suggester, f"{path}.ratio"))


@dataclass(frozen=True)
class Same:
    """A value that is always that of another, and so has no parameter of its own."""

    of: str

    def fill(self, suggester: Suggester, path: str) -> Any:
        return Multiple(self.of, 1)


@dataclass(frozen=True)
class Multiple:
    """A ratio that was drawn, waiting for the value that it multiplies."""

    of: str
    ratio: float


Hole = Float | Int | Choice | Maybe | Ratio | Same


def fill(node: Any, suggester: Suggester, path: str = "") -> Any:
    """Ask for a value at every hole of a tree. Branches that are not chosen are never asked for."""
    match node:
        case Float() | Int() | Choice() | Maybe() | Ratio() | Same():
            return node.fill(suggester, path)
        case dict():
            return {
                key: fill(child, suggester, f"{path}.{key}".lstrip("."))
                for key, child in node.items()
            }
    return node


def settle(tree: Any) -> Any:
    """Turn drawn ratios into values."""

    def walk(node: Any) -> Any:
        match node:
            case Multiple():
                base = walk(at(tree, node.of))
                # A baseline may have put anything there, which is told of where it stands.
                return node.ratio * base if isinstance(base, int | float) else node.ratio
            case dict():
                return {key: walk(child) for key, child in node.items()}
        return node

    return walk(tree)


def at(tree: Any, path: str) -> Any:
    """The part of a tree at a dotted path. Raises LookupError."""
    for key in path.split("."):
        if not isinstance(tree, dict) or key not in tree:
            raise LookupError(path)
        tree = tree[key]
    return tree


def holes(node: Any, path: str = "") -> Iterator[tuple[str, Float | Int | Choice | Maybe]]:
    """Every hole of a tree by the name of its parameter, whichever branch it is in."""
    match node:
        case Float() | Int():
            yield path, node
        case Ratio():
            yield f"{path}.ratio", node.hole
        case Choice():
            yield path, node
            for option in node.options:
                yield from holes(option, path)
        case Maybe():
            yield path, node
            yield from holes(node.inner, path)
        case dict():
            for key, child in node.items():
                yield from holes(child, f"{path}.{key}".lstrip("."))


def branches(node: Any) -> Sequence[Any]:
    """What may stand where a node does."""
    match node:
        case Choice():
            return node.options
        case Maybe():
            return (node.inner, False)
    return (node,)


def ratios(node: Any, path: str = "") -> Iterator[tuple[str, Ratio]]:
    """Every ratio of a tree, whichever branch it is in."""
    for branch in branches(node):
        match branch:
            case Ratio():
                yield path, branch
            case dict():
                for key, child in branch.items():
                    yield from ratios(child, f"{path}.{key}".lstrip("."))


class Fixed:
    """Fills holes with given values, and all others with their plainest; notes what it gave.

    What is given inside a branch chooses that branch, unless the branch is given too.
    """

    def __init__(self, tree: Any, given: Mapping[str, Any]) -> None:
        self.plainest = {name: hole.plainest() for name, hole in holes(tree)}
        self.given = given
        self.params: dict[str, Any] = {}

    def _value(self, name: str, otherwise: Any) -> Any:
        self.params[name] = self.given.get(name, otherwise)
        return self.params[name]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> Any:
        return self._value(name, self.plainest[name])

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> Any:
        return self._value(name, self.plainest[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        below = [p.removeprefix(f"{name}.") for p in self.given if p.startswith(f"{name}.")]
        if not below:
            return self._value(name, self.plainest[name])
        branch = True if tuple(choices) == (False, True) else below[0].partition(".")[0]
        return self._value(name, branch)
