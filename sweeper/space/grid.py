"""Every trial that a space has, in an order that the seed shuffles."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeper.config import Problem
from sweeper.space.draw import Draw
from sweeper.space.holes import Choice, Float, Int, Maybe, Ratio, branches, holes

MOST = 1_000_000
"""Points of a grid: more would take longer than anybody waits, whatever a trial takes."""


class Given(Draw):
    """A draw of given values."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.values = values

    def number(self, name: str, hole: Float | Int) -> Any:
        return self.values[name]

    def option(self, name: str, options: Sequence[Any]) -> Any:
        return self.values[name]


def grid(tree: Any, seed: int) -> Iterator[Given]:
    """Every point of a tree once: all combinations of options and values, and of a branch only
    where it is taken."""
    points = range(size(tree))
    for index in random.Random(seed).sample(points, len(points)):
        yield Given(dict(_point(tree, index)))


def size(node: Any) -> int:
    """How many points a tree has."""
    match node:
        case Float() | Int():
            values = node.values()
            assert values is not None, "a grid of a range without steps was refused"
            return len(values)
        case Ratio(hole=hole):
            return size(hole)
        case Choice() | Maybe():
            return sum(map(size, branches(node)))
        case dict():
            return math.prod(map(size, node.values()))
    return 1


def _point(node: Any, index: int, path: str = "") -> Iterator[tuple[str, Any]]:
    """The parameters of one point of a tree, by its index among all."""
    match node:
        case Float() | Int():
            values = node.values()
            assert values is not None
            yield path, values[index]
        case Ratio(hole=hole):
            yield from _point(hole, index, f"{path}.ratio")
        case Choice() | Maybe():
            labels = node.labels if isinstance(node, Choice) else (True, False)
            for label, branch in zip(labels, branches(node), strict=True):
                if index < (points := size(branch)):
                    yield path, label
                    yield from _point(branch, index, path)
                    return
                index -= points
        case dict():
            for key, child in node.items():
                index, own = divmod(index, size(child))
                yield from _point(child, own, f"{path}.{key}".lstrip("."))


def unlisted(tree: Any) -> Iterator[Problem]:
    """Ranges that a grid cannot go through, or that there is too much to go through."""
    endless = [
        name
        for name, hole in holes(tree)
        if isinstance(hole, Float) and hole.step is None
    ]  # fmt: skip
    for name in dict.fromkeys(endless):
        law = f"a grid goes through every value, but {name} has no end of them without a step"
        yield Problem(("trial", *name.removesuffix(".ratio").split(".")), law)
    if not endless and (points := size(tree)) > MOST:
        law = f"a grid has {MOST:,} points at most, but this one has {points:,}"
        yield Problem(("search", "method"), law)
