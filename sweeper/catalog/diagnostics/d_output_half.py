"""A D that cannot tell."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, Uniform
from sweeper.stream import Stream, Verdict


@diagnostics.register()
def d_output_half(
    stream: Stream,
    *,
    tolerance: Annotated[float, Gt(0), Lt(0.5), Uniform(0.02, 0.1)] = 0.05,
    windows: Annotated[int, Ge(1), Integers(1, 10)] = 3,
    poor: Annotated[float, Gt(0), Le(1), Uniform(0.2, 0.9)] = 0.5,
) -> Verdict | None:
    """Says when D cannot tell real from fake: an equilibrium, or a blind D if the score is poor.

    The mean probability of being real, of real examples and of fakes, both lie within ``tolerance``
    of ½ in each of the last so many windows. The score is poor when the best is above a share
    ``poor`` of the first, and was not lowered by 1 % in those windows: a D that is blind teaches
    nothing. It applies to losses that read scores as logits; the relativistic ones
    ask how much more real an example is than those of the other kind.
    """
    seen = [w for w in stream.windows() if "real belief" in w.series]
    real = [w.series["real belief"] for w in seen[-windows:]]
    fake = [w.series["fake belief"] for w in seen[-windows:]]
    if len(real) < windows or any(abs(s.mean - 0.5) >= tolerance for s in (*real, *fake)):
        return None
    first, best = stream.measurements[0].score, stream.measurements[-1].best
    before = stream.best_at(seen[-windows - 1].images if len(seen) > windows else 0)
    right = (real[-1].mean + 1 - fake[-1].mean) / 2
    says = (
        f"D takes real examples for real with probability {real[-1].mean:.2f} and fakes with "
        f"{fake[-1].mean:.2f}, so it is right in {right:.0%} of the cases"
    )
    if best > poor * first:
        if len(stream.measurements) == 1 or best <= 0.99 * before:
            return None
        return Verdict(
            "warn",
            f"{says}, and the best score, {best:.4g}, is still {best / first:.0%} of the first, "
            f"{before:.4g} before: D is blind",
            "a larger D, a higher rate or more steps for it, or less noise and weaker penalties",
        )
    return Verdict("healthy", f"{says}: an equilibrium")
