"""Where a sweep comes from, if another came before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def descent(plan: Mapping[str, Any]) -> str:
    """What a plan, as in ``sweep.json``, says of the sweep that it began from, in a sentence; empty
    if it began from none."""
    match plan.get("from"):
        case {"name": name, "continued": [int(), *_] as numbers, "afresh": afresh}:
            how = "with new weights" if afresh else "from their checkpoints"
            trials = ", ".join(f"t{number:03d}" for number in numbers)
            return f"Its trials are {trials} of the sweep {name}, trained further {how}."
        case {"name": name, "known": int(known), "left_out": Mapping() as left_out}:
            shown = f"Its sampler was shown {known} trial{'s' * (known != 1)} of the sweep {name}"
            left = sum(left_out.values())
            return f"{shown}; {left} could not have been drawn here." if left else f"{shown}."
    return ""
