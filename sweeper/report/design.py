"""Trials as numbers: what was searched as the columns of a linear model, branches included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeper.ledger.ranges import middle, number, place, places
from sweeper.report import text

Array = NDArray[np.float64]
Spec = dict[str, Any]


@dataclass(frozen=True)
class Contrast:
    """One way to choose ``instead`` of another: what it adds to each column of its factor."""

    then: str
    instead: str
    weights: Array


@dataclass(frozen=True)
class Factor:
    """A searched parameter in a model of so many trials: its columns, and what may be asked of it.

    Its columns average to 0 over what can be drawn, and are 0 where its branch was not chosen. So
    the effect of choosing a branch is that of its average member.
    """

    name: str
    active: NDArray[np.bool_]
    columns: Array
    contrasts: tuple[Contrast, ...]


def factor(spec: Spec, values: Sequence[Any], reference: Any, *, curved: bool) -> Factor | None:
    """The factor of a parameter with these values, one a trial; None where it never varied.

    Options are compared with the ``reference``, where it was tried, else with the first; of a range
    the upper half with the lower. ``curved`` lets the best of a range lie within it.
    """
    if spec["kind"] != "choice":
        values = [number(value) for value in values]
    active = np.array([value is not None for value in values])
    if len({str(value) for value in values if value is not None}) < 2:
        return None
    if spec["kind"] == "choice":
        return _options(spec, values, active, reference)
    return _range(spec, values, active, curved=curved)


def halves(spec: Spec, values: Sequence[Any], reference: Any) -> Factor | None:
    """The same with a range as two options, its upper and its lower half: their difference is read
    off a balanced design without a model of what lies within."""
    found = factor(spec, values, reference, curved=False)
    if found is None or spec["kind"] == "choice":
        return found
    side = np.sign(found.columns) / 2
    if not (side > 0).any() or not (side < 0).any():
        return None
    (contrast,) = found.contrasts
    one = Contrast(contrast.then, contrast.instead, np.ones(1))
    return Factor(found.name, found.active, side, (one,))


def _options(
    spec: Spec, values: Sequence[Any], active: NDArray[np.bool_], reference: Any
) -> Factor:
    told = [text.value(value, 40) for value in values]
    tried = {label for label, on in zip(told, active, strict=True) if on}
    planned = [text.value(value, 40) for value in spec.get("choices", ())]
    levels = [label for label in planned if label in tried]
    levels += sorted(tried - set(levels))
    codes = {
        level: np.eye(len(levels))[i][:-1] if i < len(levels) - 1 else -np.ones(len(levels) - 1)
        for i, level in enumerate(levels)
    }
    nothing = np.zeros(len(levels) - 1)
    columns = np.array([codes[t] if on else nothing for t, on in zip(told, active, strict=True)])
    usual = text.value(reference, 40)
    usual = usual if usual in tried else levels[0]
    contrasts = [Contrast(lv, usual, codes[lv] - codes[usual]) for lv in levels if lv != usual]
    return Factor(spec["name"], active, columns, tuple(contrasts))


def _range(spec: Spec, values: Sequence[Any], active: NDArray[np.bool_], *, curved: bool) -> Factor:
    grid = places(spec)
    there = np.array([place(spec, v) if v is not None else 0.0 for v in values])
    powers = (1, 2) if curved and len(np.unique(there[active])) > 2 else (1,)
    usual = [float((grid**p).mean()) for p in powers]
    columns = np.stack([(there**p - m) * active for p, m in zip(powers, usual, strict=True)], 1)
    upper, lower = grid[grid > 1e-9], grid[grid < -1e-9]
    weights = np.array([float((upper**p).mean() - (lower**p).mean()) for p in powers])
    at = text.value(middle(spec))
    half = Contrast(f"above {at}", f"below {at}", weights)
    return Factor(spec["name"], active, columns, (half,))
