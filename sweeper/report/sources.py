"""Whom to cite: the papers of what a sweep has tried."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sweeper.report.ranking import Row, Sweep


def shown(sweep: Sweep) -> list[Row]:
    """The papers of the plan whose techniques are in the configuration of some trial, and of the
    distance that is minimised; those of the best trial come first."""
    tried = {name for trial in sweep.trials for name in _names(json.loads(trial["config"] or "{}"))}
    best = sweep.best
    held = set(_names(json.loads(best["config"] or "{}"))) if best else set()
    found = [
        paper | {"best": bool(held & set(paper["of"]))}
        for paper in sweep.plan.get("papers", [])
        if (tried | {"fid"}) & set(paper["of"])
    ]
    return sorted(found, key=lambda paper: not paper["best"])


def _names(tree: Any) -> Iterator[str]:
    """All keys and texts of a configuration, technique names among them."""
    match tree:
        case dict():
            for key, of in tree.items():
                if of is not None and of is not False:
                    yield key
                    yield from _names(of)
        case list():
            for of in tree:
                yield from _names(of)
        case str():
            yield tree
