"""A calm D, and one that is not."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Lt

from sweeper.catalog.diagnostics.trends import slope
from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, LogUniform, Uniform
from sweeper.stream import Stream, Verdict, pooled


@diagnostics.register()
def d_loss_variance(
    stream: Stream,
    *,
    windows: Annotated[int, Ge(2), Integers(3, 20)] = 5,
    variation: Annotated[float, Gt(0), Uniform(0.1, 1.0)] = 0.3,
    spikes: Annotated[float, Ge(0), Lt(1), LogUniform(0.002, 0.1)] = 0.01,
) -> Verdict | None:
    """Warns of a D whose loss jumps, and says when it is calm: varying little, and not rising.

    Over the last so many windows: a jump lies more than six median deviations from its window's
    median, and more than a share ``spikes`` of them is unstable. Otherwise it is calm when the
    deviation is at most ``variation`` of the mean, and the line through the windows' means does not
    rise. The mean of a critic's loss may be 0, so of critics only jumps are judged.
    """
    seen = [w for w in stream.windows() if "discriminator.adversarial" in w.series][-windows:]
    if len(seen) < windows:
        return None
    series = [w.series["discriminator.adversarial"] for w in seen]
    whole = pooled(series)
    if whole.spikes > spikes * whole.n:
        return Verdict(
            "warn",
            f"D's loss jumps: {whole.spikes} of the last {whole.n} rounds "
            f"({whole.spikes / whole.n:.1%}) lie far off its median, from {whole.low:.3g} to "
            f"{whole.high:.3g} about a mean of {whole.mean:.3g}: D is unstable",
            "a lower rate for D, a larger batch, a gradient penalty, or spectral normalization",
        )
    rise = slope([w.images / 1000 for w in seen], [s.mean for s in series])
    if stream.critic or whole.deviation > variation * abs(whole.mean) or rise > 0:
        return None
    return Verdict(
        "healthy",
        f"D's loss varies by {whole.deviation / abs(whole.mean):.0%} about its mean of "
        f"{whole.mean:.3g}, and does not rise ({rise:+.2g} a kimg)",
    )
