"""Baselines: named trials that are always run, to the full budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.config import Problem, Where, show
from sweeper.space.holes import Fixed, Float, Int, at, fill, holes, ratios, settle
from sweeper.space.merge import put


@dataclass(frozen=True)
class Baseline:
    """A name and the values it sets, by path; everything else takes its plainest."""

    name: str
    given: Mapping[str, Any]

    @classmethod
    def read(cls, written: Mapping[str, Any], index: int) -> Baseline:
        given = {path: value for path, value in written.items() if path != "name"}
        return cls(str(written.get("name", f"baseline {index + 1}")), given)


class Drawn:
    """What a baseline makes of a tree with holes.

    Its values fill the holes that bear their names, and those that no hole is asked for are laid
    upon the rest: so any path may be set, to any value that the catalog allows.
    """

    def __init__(self, tree: dict[str, Any], given: Mapping[str, Any]) -> None:
        self.names = dict(holes(tree))
        self.given = dict(_flat(given, self.names))
        self.multiples = dict(ratios(tree))
        fixed = Fixed(tree, self.given)
        filled = {"trial": fill(tree, fixed)}
        for path, value in self.given.items():
            if path not in fixed.params:
                filled = put(filled, ("trial", *path.split(".")), value)
        self.asked = fixed.params
        self.tree: dict[str, Any] = settle(filled["trial"])

    def missing(self, plain: Mapping[str, Any]) -> list[Problem]:
        """The values that the trial does not have, because of others."""
        return [
            Problem(
                keys(path), f"{path} is set to {show(value)}, but another setting rules that out"
            )
            for path, value in self.given.items()
            if not (path in self.asked and path.endswith(".ratio")) and not _has(plain, path, value)
        ]

    def params(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that the trial stands for, ratios of what was set among them."""
        params = dict(self.asked)
        for name in params:
            if isinstance(self.names[name], Float | Int) and not name.endswith(".ratio"):
                params[name] = at(plain, name)
        for path, multiple in self.multiples.items():
            if path in self.given:
                params[f"{path}.ratio"] = at(plain, path) / at(plain, multiple.of)
        return params


def keys(path: str) -> Where:
    return tuple(path.split("."))


def _flat(
    given: Mapping[str, Any], names: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, Any]]:
    """Settings by dotted path. A technique with knobs is its name, and its knobs below."""
    for key, value in given.items():
        path = f"{within}.{key}".lstrip(".")
        if isinstance(value, Mapping) and value:
            yield from _flat(value, names, path)
        elif path in names and _leaves_out(names[path]):
            yield path, value not in (False, None)
        else:
            yield path, value


def _leaves_out(hole: Any) -> bool:
    return bool(hole.describe().get("choices") == [False, True])


def _has(plain: Mapping[str, Any], path: str, value: Any) -> bool:
    try:
        found = at(plain, path)
    except LookupError:
        return value in (False, None)
    if not isinstance(found, Mapping):
        return True
    return value in found if isinstance(value, str) else (value is not False or not found)
