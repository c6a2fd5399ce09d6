"""Every place of a trial, with every technique that can stand there: a new entry is a new case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from pydantic import BaseModel

from sweeper.catalog import families
from sweeper.config import Data, Misfit, Slot, Trial
from sweeper.registry import Entry, Registry, tags

REGISTRIES: list[Registry[Any]] = [r for r in vars(families).values() if isinstance(r, Registry)]
ENTRIES: list[Entry[Any]] = [entry for registry in REGISTRIES for entry in registry.values()]


@dataclass(frozen=True)
class Place:
    """A slot of a trial."""

    path: tuple[str, ...]
    slot: Slot

    def put(self, tree: dict[str, Any], name: str) -> None:
        *above, last = self.path
        for key in above:
            tree = tree[key]
        if self.slot.several:
            tree[last] = {**tree.get(last, {}), name: {}}
        else:
            tree[last] = {name: {}}


def places(model: type[BaseModel] = Trial, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """The slots of a trial, found in its model."""
    for name, info in model.model_fields.items():
        for slot in (m for m in info.metadata if isinstance(m, Slot)):
            yield Place((*path, name), slot)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Data):
            yield from places(info.annotation, (*path, name))


PLACES = list(places())


@dataclass(frozen=True)
class Case:
    """One technique in one place."""

    place: Place
    entry: Entry[Any]

    def __str__(self) -> str:
        return ".".join((*self.place.path, self.entry.name))


def _needs_nothing_from_the_user(entry: Entry[Any]) -> bool:
    return not any(info.is_required() for info in entry.knobs.model_fields.values())


CASES = [
    Case(place, entry)
    for place in PLACES
    for entry in place.slot.registry.values()
    if _needs_nothing_from_the_user(entry)
]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.family}.{e.name}")


def trial_with(case: Case, bases: Iterable[dict[str, Any]]) -> Trial:
    """A trial that holds a technique, and beside it whatever provides what the technique needs."""
    companions = [
        [
            (place, other.name)
            for place in PLACES
            for other in place.slot.registry.values()
            if tag in tags(other.provides) and place.path[0] != "generator"
        ]
        for tag in sorted(tags(case.entry.needs))
    ]
    misfits = []
    for base, beside in product(bases, [(), *product(*companions)]):
        tree = deepcopy(base)
        for place, name in beside:
            place.put(tree, name)
        case.place.put(tree, case.entry.name)
        try:
            return Trial.read(tree)
        except Misfit as misfit:
            misfits.append(str(misfit))
    raise AssertionError(f"no trial holds {case}: {misfits}")
