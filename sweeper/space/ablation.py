"""Ablations: a trial with one of its choices taken back to what a baseline has there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.config import Trial
from sweeper.space.baselines import Baseline, Drawn
from sweeper.space.holes import Fixed, at, fill, settle
from sweeper.space.merge import put
from sweeper.space.space import SearchSpace

NOTHING = ""
"""The path of an ablation that takes nothing back: the trial again, to compare the others with."""


def choices(space: SearchSpace, params: Mapping[str, Any], baseline: Baseline) -> list[str]:
    """The paths where a trial of these parameters is not what the baseline is: parameters, and what
    else the baseline sets. What lies in a branch that only one of them took goes with its choice.
    """
    base, _ = space.baseline(baseline)
    _, trial = taken_back(space, params, baseline, NOTHING)
    plain = trial.plain()
    searched = [name for name in params if name in base and params[name] != base[name]]
    beside = _beside(space, baseline)
    return searched + [path for path in beside if not _stands(plain, path, beside[path])]


def taken_back(
    space: SearchSpace, params: Mapping[str, Any], baseline: Baseline, path: str
) -> tuple[dict[str, Any], Trial]:
    """The parameters and the trial where what stands at ``path`` is the baseline's. Raises Misfit
    when that breaks a law."""
    base, _ = space.baseline(baseline)
    back = {path: base[path]} if path in base else {}
    fixed = Fixed(space.tree, {**base, **params, **back})
    tree = {"trial": fill(space.tree, fixed)}
    beside = _beside(space, baseline)
    if path in beside:
        tree = put(tree, ("trial", *path.split(".")), beside[path])
    return fixed.params, space.made(settle(tree["trial"]))


def _beside(space: SearchSpace, baseline: Baseline) -> dict[str, Any]:
    """What a baseline sets that is not searched."""
    drawn = Drawn(space.tree, baseline.given)
    return {
        path: value
        for path, value in drawn.given.items()
        if path not in drawn.names and f"{path}.ratio" not in drawn.names
    }


def _stands(plain: Mapping[str, Any], path: str, value: Any) -> bool:
    """Whether a trial has a value at a path."""
    try:
        found = at(plain, path)
    except LookupError:
        return value in (False, None)
    return found == value or (isinstance(found, Mapping) and list(found) == [value])
