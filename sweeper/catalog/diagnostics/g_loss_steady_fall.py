"""A G that fools D with bad samples."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from sweeper.catalog.diagnostics.trends import steadiness
from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, LogUniform, Uniform
from sweeper.stream import Stream, Verdict


@diagnostics.register()
def g_loss_steady_fall(
    stream: Stream,
    *,
    windows: Annotated[int, Ge(3), Integers(10, 50)] = 20,
    tau: Annotated[float, Gt(0), Le(1), Uniform(0.6, 0.95)] = 0.8,
    gain: Annotated[float, Ge(0), Lt(1), LogUniform(0.002, 0.1)] = 0.01,
) -> Verdict | None:
    """Warns of a G that fools D with bad samples: its loss falls steadily, its score does not.

    Kendall's τ of the mean adversarial losses of the last so many windows is at most -tau, and the
    best score is not lower by a share ``gain`` than it was before them. A critic's loss with a
    content term beside it is meant to fall, and is not judged.
    """
    seen = [w for w in stream.windows() if "generator.adversarial" in w.series]
    if len(seen) < windows or (stream.critic and stream.content):
        return None
    losses = [w.series["generator.adversarial"].mean for w in seen[-windows:]]
    begin = seen[-windows - 1].images if len(seen) > windows else 0
    before, now = stream.best_at(begin), stream.measurements[-1].best
    order = steadiness(losses)
    if order > -tau or len(stream.measurements) == 1 or now <= (1 - gain) * before:
        return None
    return Verdict(
        "warn",
        f"G's loss falls steadily from {losses[0]:.3g} to {losses[-1]:.3g} (τ {order:.2f}) while "
        f"the best score stays at {now:.4g}, {before:.4g} before: G fools D with bad "
        "samples",
        "a stronger D (more steps, a higher rate), or a fresh view of the fakes (image pool)",
    )
