"""Trials that hold techniques together: every two that may be in one trial are in one of these.

A feature is one technique in one place. Features of a place that takes one technique exclude each
other; those of a place that takes many do not. A covering array is a few trials, each of many
features, in which every allowed pair of features occurs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from sweeper.config import Misfit, Trial

Pair = frozenset["Feature"]

STEP = {
    ("loss",),
    ("regularizers",),
    ("tricks",),
    ("schedule",),
    ("discriminator", "constraint"),
    ("discriminator", "normalization"),
    ("discriminator", "optimizer"),
    ("generator", "optimizer"),
}
"""The places whose techniques bear on the training step."""


@dataclass(frozen=True, order=True)
class Feature:
    """A technique in a place."""

    path: tuple[str, ...]
    name: str
    several: bool

    def __str__(self) -> str:
        return ".".join((*self.path, self.name))

    def excludes(self, other: Feature) -> bool:
        return self.path == other.path and not self.several


def trial_of(features: Iterable[Feature], base: Mapping[str, Any]) -> Trial | None:
    """The trial that holds these features, or None if they break a law."""
    tree: dict[str, Any] = deepcopy(dict(base))
    for feature in sorted(features):
        *above, last = feature.path
        node = tree
        for key in above:
            node = node[key]
        held = node.get(last, {}) if feature.several else {}
        node[last] = {**held, feature.name: {}}
    try:
        return Trial.read(tree)
    except Misfit:
        return None


def together(
    features: Iterable[Feature], known: list[Feature], base: Mapping[str, Any]
) -> frozenset[Feature] | None:
    """Some features with the fewest others beside them that make a trial, or None if none do."""
    wanted = frozenset(features)
    if any(a.excludes(b) for a, b in itertools.combinations(wanted, 2)):
        return None
    for beside in range(3):
        for others in itertools.combinations(helpers(known), beside):
            held = wanted | set(others)
            if any(a.excludes(b) for a, b in itertools.combinations(held, 2)):
                continue
            if trial_of(held, base) is not None:
                return held
    return None


def helpers(known: list[Feature]) -> list[Feature]:
    """Features that others may need beside them: losses, constraints and penalties."""
    return [f for f in known if f.path in {("loss",), ("discriminator", "constraint")}] + [
        f for f in known if f.path == ("regularizers",)
    ]


def covering_array(
    known: list[Feature], base: Mapping[str, Any], seed: int
) -> Iterator[frozenset[Feature]]:
    """Rows of features in which every allowed pair occurs, greedily few."""
    open_pairs: dict[Pair, None] = {
        frozenset(pair): None
        for pair in itertools.combinations(sorted(known), 2)
        if not pair[0].excludes(pair[1])
    }
    chance = random.Random(seed)
    while open_pairs:
        first = next(iter(open_pairs))
        row = together(first, known, base)
        if row is None:
            del open_pairs[first]
            continue
        candidates = [f for f in known if f not in row]
        chance.shuffle(candidates)
        candidates.sort(key=lambda f: -gain(f, row, open_pairs))
        for feature in candidates:
            grown = row | {feature}
            if (
                not any(feature.excludes(other) for other in row)
                and gain(feature, row, open_pairs)
                and trial_of(grown, base) is not None
            ):
                row = grown
        for pair in itertools.combinations(row, 2):
            open_pairs.pop(frozenset(pair), None)
        yield row


def gain(feature: Feature, row: Iterable[Feature], open_pairs: Mapping[Pair, None]) -> int:
    return sum(frozenset((feature, other)) in open_pairs for other in row)
