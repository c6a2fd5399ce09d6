"""Where numbers stand in the range that they were searched in, as ``sweep.json`` has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 100
"""Points that a range is averaged over, at most."""


def place(spec: Mapping[str, Any], value: float) -> float:
    """Where a value stands in its range, from -1 to 1, on the scale that it is searched on."""
    low, high = float(spec["low"]), float(spec["high"])
    if logarithmic(spec):
        value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
    return min(max(2 * (value - low) / (high - low) - 1, -1.0), 1.0) if high > low else 0.0


def places(spec: Mapping[str, Any]) -> NDArray[np.float64]:
    """Where a search at random would draw from a range, evenly."""
    low, high = float(spec["low"]), float(spec["high"])
    shares = (np.arange(POINTS) + 0.5) / POINTS
    values = low * (high / low) ** shares if logarithmic(spec) else low + (high - low) * shares
    if spec["kind"] == "int":
        few = high - low < POINTS and not logarithmic(spec)
        values = np.arange(low, high + 1) if few else np.round(values)
    return np.array([place(spec, value) for value in values])


def middle(spec: Mapping[str, Any]) -> float:
    """The value in the middle of a range."""
    low, high = float(spec["low"]), float(spec["high"])
    return math.sqrt(low * high) if logarithmic(spec) else (low + high) / 2


def logarithmic(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("log")) and spec["low"] > 0


def number(value: Any) -> float | None:
    """A value of a range; None of what is no number: a mixture of kinds is kept as its text."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
