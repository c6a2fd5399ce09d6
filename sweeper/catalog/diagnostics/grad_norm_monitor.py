"""Gradients that blow up."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt

from sweeper.catalog.families import diagnostics
from sweeper.registry import LogUniform
from sweeper.stream import Stream, Verdict


@diagnostics.register()
def grad_norm_monitor(
    stream: Stream,
    *,
    limit: Annotated[float, Gt(0), LogUniform(10, 1000)] = 100.0,
) -> Verdict | None:
    """Warns of gradients that blow up: in a tenth of the latest rounds, one is above the limit.

    The L2 norm over all of a player's weights, before anything clips it. A norm that is no finite
    number ends the trial at once, whatever is diagnosed.
    """
    found = [
        f"{player}'s gradient has a norm of {series[-1].p90:.3g} or more in a tenth of the latest "
        f"rounds, {series[-1].mean:.3g} in the mean"
        for player, name in (("D", "discriminator gradient"), ("G", "generator gradient"))
        if (series := stream.series(name)) and series[-1].p90 > limit
    ]
    if not found:
        return None
    return Verdict(
        "warn",
        f"{'; '.join(found)}: above {limit:g}, steps go astray",
        "a lower rate, gradient clipping, or spectral normalization",
    )
