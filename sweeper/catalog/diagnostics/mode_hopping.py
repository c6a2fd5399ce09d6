"""Samples that are alike, of another kind each time."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, Uniform
from sweeper.stream import Stream, Verdict


@diagnostics.register()
def mode_hopping(
    stream: Stream,
    *,
    hops: Annotated[int, Ge(1), Integers(2, 6)] = 3,
    evaluations: Annotated[int, Ge(2), Integers(3, 10)] = 5,
    coverage: Annotated[float, Gt(0), Lt(1), Uniform(0.2, 0.8)] = 0.5,
) -> Verdict | None:
    """Warns of a G that locks on to one mode after another, and keeps none.

    In the last so many evaluations the class of most samples changes ``hops`` times or oftener,
    while less than a share ``coverage`` of the classes gets samples. It applies where the features
    come with classes.
    """
    last = [m.variety for m in stream.measurements[-evaluations:]]
    shares = [v.coverage for v in last if v and v.coverage is not None]
    dominant = [v.dominant for v in last if v and v.dominant is not None]
    changes = sum(a != b for a, b in pairwise(dominant))
    if min(len(shares), len(dominant)) < evaluations:
        return None
    if max(shares) >= coverage or changes < hops:
        return None
    return Verdict(
        "warn",
        f"the class of most samples changes {changes} times in {evaluations} evaluations "
        f"({', '.join(map(str, dominant))}), and {max(shares):.0%} of the classes or less get "
        "samples: G chases modes that D then learns to refuse",
        "an unrolled D, an image pool, minibatch standard deviation, or an average of G's weights",
    )
