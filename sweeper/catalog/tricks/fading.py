"""How techniques fade out over training: functions of the share of the horizon that lies behind."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from sweeper.registry import Options

Fading = Annotated[
    Literal["linear", "cosine", "constant"], Options(("linear", "cosine", "constant"))
]
"""A line to zero, half a cosine to zero, or no fading at all."""


def left(decay: str, behind: float) -> float:
    """The share that is left of something when a share of its time lies behind, from 1 to 0."""
    if decay == "constant":
        return 1.0
    behind = min(behind, 1.0)
    return 1 - behind if decay == "linear" else (1 + math.cos(math.pi * behind)) / 2
