"""How far a trial has come on the axis of its sweep's budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def come(plan: Mapping[str, Any], config: Mapping[str, Any], images: int) -> int:
    """How far so many images bring a trial, in images of one whose horizon is the plan's.

    In kimg that is what they are. On any other axis, what one of it takes depends on the trial's
    own batch, packs and schedule, and so does its horizon in images.
    """
    own: float | None = config.get("horizon_kimg")
    if plan.get("axis", "kimg") == "kimg" or not own:
        return images
    whole: float = plan["horizon_kimg"]
    return round(images * whole / own)
