"""Where a critic's loss goes."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, LogUniform, Uniform
from sweeper.stream import Series, Stream, Verdict, pooled

ROUNDS = 100


@diagnostics.register()
def wgan_loss_trend(
    stream: Stream,
    *,
    windows: Annotated[int, Ge(1), Integers(3, 20)] = 5,
    tail: Annotated[float, Gt(0), Lt(1), Uniform(0.05, 0.3)] = 0.1,
    crossings: Annotated[float, Gt(0), Uniform(2, 20)] = 5.0,
    growth: Annotated[float, Gt(1), LogUniform(3, 100)] = 10.0,
) -> Verdict | None:
    """Says when a critic's loss swings about zero, and warns when it grows without bound.

    Over the last so many windows: the mean distance between real and fake scores is at most a share
    ``tail`` of its peak, and L_D changes its sign ``crossings`` times in 100 rounds or oftener: it
    has converged. Or L_D, as a root mean square, is ``growth`` times what it was in any of the
    first so many windows, and higher than ever: nothing holds D's slope. It applies to critics
    only, whose distance estimates the earth mover's while D is 1-Lipschitz.
    """
    real, fake = stream.series("real score"), stream.series("fake score")
    losses = stream.series("discriminator.adversarial")
    if not stream.critic or len(losses) < 2 * windows:
        return None
    distances = [r.mean - f.mean for r, f in zip(real, fake, strict=True)]
    now, peak = math.fsum(distances[-windows:]) / windows, max(map(abs, distances))
    last = pooled(losses[-windows:])
    often = last.crossings / last.n * ROUNDS
    if abs(now) <= tail * peak and often >= crossings:
        return Verdict(
            "healthy",
            f"the critic's distance between real and fake is down to {now:.3g}, from "
            f"{peak:.3g} at its peak, and its loss changes sign {often:.0f} times in {ROUNDS} "
            "rounds: it has converged",
        )
    sizes = [size(series) for series in losses]
    first, latest = max(sizes[:windows]), sizes[-1]
    if latest < growth * first or latest < max(sizes):
        return None
    return Verdict(
        "warn",
        f"the critic's loss has grown from {first:.3g} to {latest:.3g}, {latest / first:.0f} "
        "times, and still grows: its slope is not held, and its distance means nothing",
        "a larger gradient penalty, spectral normalization, or a lower rate for D",
    )


def size(series: Series) -> float:
    """The root mean square of a quantity."""
    return math.hypot(series.mean, series.deviation)
