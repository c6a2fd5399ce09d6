"""Points of a unit cube with a side for each parameter of a space, and the draws they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeper.space.draw import Draw
from sweeper.space.holes import Float, Int, holes

BLOCK = 6
"""The first points of a sequence are drawn together, two to this power of them."""


class Point(Draw):
    """A draw of what lies at a share, of at least 0 and below 1, of each range or of its
    options."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        super().__init__()
        self.shares = shares

    def number(self, name: str, hole: Float | Int) -> Any:
        return hole.quantile(self.shares[name])

    def option(self, name: str, options: Sequence[Any]) -> Any:
        return options[int(self.shares[name] * len(options))]


def sobol(tree: Any, seed: int) -> Iterator[Point]:
    """The points of a scrambled Sobol sequence (Owen 1998), one side for each parameter of a tree,
    whichever branch it is in.

    The parameters of branches that a point does not take are left out of it, so that those of the
    others stay evenly spread over all points.
    """
    # Here, since it takes longer than all else that a sweep imports.
    import numpy as np
    from scipy.stats import qmc

    names = list(dict(holes(tree)))
    sequence = qmc.Sobol(max(len(names), 1), scramble=True, seed=np.random.default_rng(seed))
    power = BLOCK
    yield from _points(names, sequence.random_base2(power))
    while True:  # as many again, so that their number is a power of two
        yield from _points(names, sequence.random_base2(power))
        power += 1


def _points(names: Sequence[str], rows: Any) -> Iterator[Point]:
    for row in rows.tolist():
        yield Point(dict(zip(names, row, strict=False)))
