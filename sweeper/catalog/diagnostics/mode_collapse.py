"""Samples that are all alike."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, Options, Uniform
from sweeper.stream import Stream, Variety, Verdict


@diagnostics.register()
def mode_collapse(
    stream: Stream,
    *,
    ratio: Annotated[float, Gt(0), Lt(1), Uniform(0.1, 0.5)] = 0.3,
    coverage: Annotated[float, Gt(0), Lt(1), Uniform(0.2, 0.8)] = 0.5,
    evaluations: Annotated[int, Ge(2), Integers(2, 5)] = 2,
    action: Annotated[Literal["warn", "fail"], Options(("warn", "fail"))] = "warn",
) -> Verdict | None:
    """Warns of, or fails, a G whose samples are all alike, or of few kinds.

    At each of the last so many evaluations, in the features that the score is taken in, the mean
    distance of two samples is below a share ``ratio`` of that of two real examples, or the mean
    deviation of a feature is, or less than a share ``coverage`` of the classes gets samples.
    """
    last = [m.variety for m in stream.measurements[-evaluations:]]
    signs = [_signs(v, ratio, coverage) for v in last if v]
    if len(signs) < evaluations or not all(signs):
        return None
    return Verdict(
        action,
        f"{' and '.join(signs[-1])}, and so it was for {evaluations} evaluations: G "
        "makes few kinds of samples",
        "minibatch standard deviation, packing, an unrolled D, or a lower rate for G",
    )


def _signs(seen: Variety, ratio: float, coverage: float) -> list[str]:
    found = []
    if seen.distance < ratio:
        found.append(f"two samples are {seen.distance:.0%} as far apart as two real examples")
    if seen.deviation < ratio:
        found.append(f"their features vary {seen.deviation:.0%} as much")
    if seen.coverage is not None and seen.coverage < coverage:
        found.append(f"{seen.coverage:.0%} of the classes get samples")
    return found
