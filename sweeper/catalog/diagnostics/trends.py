"""What a row of numbers does: how steeply it rises, and how steadily."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the straight line nearest to some points, by least squares: Σ (x - x̄)(y - ȳ) / Σ (x - x̄)².
    0 when they share one place."""
    middle, level = math.fsum(x) / len(x), math.fsum(y) / len(y)
    run = math.fsum((a - middle) ** 2 for a in x)
    rise = math.fsum((a - middle) * (b - level) for a, b in zip(x, y, strict=True))
    return rise / run if run else 0.0


def steadiness(values: Sequence[float]) -> float:
    """Kendall's τ of values with their order: the share of pairs that rise, less the share that
    fall; -1 when each is below the one before."""
    pairs = list(combinations(values, 2))
    return math.fsum((a < b) - (a > b) for a, b in pairs) / len(pairs) if pairs else 0.0
