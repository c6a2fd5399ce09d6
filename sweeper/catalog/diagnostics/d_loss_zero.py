"""A D that has won."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Lt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, LogUniform
from sweeper.stream import Stream, Verdict


@diagnostics.register()
def d_loss_zero(
    stream: Stream,
    *,
    share: Annotated[float, Gt(0), Lt(1), LogUniform(0.01, 0.2)] = 0.05,
    windows: Annotated[int, Ge(1), Integers(1, 10)] = 3,
) -> Verdict | None:
    """Fails a trial whose D has won: its loss stays near zero, and G is taught nothing.

    EMA(L_D) < share · L_D* at the end of each of the last so many windows, where L_D* is what D
    pays when it cannot tell real from fake: 2 ln 2 for the original game, 2 for the hinge, ¼ for
    least squares. A critic's loss has no such level, and is zero when all is well.
    """
    last = stream.series("discriminator.adversarial")[-windows:]
    if stream.critic or stream.equilibrium is None or len(last) < windows:
        return None
    floor = share * stream.equilibrium
    if any(series.ema >= floor for series in last):
        return None
    now = last[-1].ema
    return Verdict(
        "fail",
        f"D's loss has come down to {now:.2g} and stays there, {now / stream.equilibrium:.1%} of "
        f"the {stream.equilibrium:.3g} it pays when it cannot tell real from fake: D has won, and "
        "G is taught nothing",
        "a lower rate or fewer steps for D, a gradient penalty, instance noise, or smoothed labels",
    )
