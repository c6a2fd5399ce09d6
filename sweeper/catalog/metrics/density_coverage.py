"""How densely fakes lie where real examples do, and how many of those have a fake nearby."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.catalog.metrics.neighbours import distances, radii
from sweeper.registry import Integers


@metrics.register(paper="naeem2020")
def density_coverage(
    compared: Compared, *, k: Annotated[int, Ge(1), Integers(3, 10)] = 5
) -> dict[str, float]:
    """In how many real balls a fake lies, over ``k`` (density), and how many hold one (coverage).

    The ball around a real example reaches, in features, to its k-th nearest other one, which
    itself lies outside. Both are 1, or nearly so, if the fakes are as the real examples; unlike
    precision and recall they are not led astray by outliers of G's. NaN with k real examples or
    fewer.
    """
    real, fake = compared.real.features, compared.fake.features
    if not compared.finite or len(real) <= k or not len(fake):
        return unknown("density", "coverage")
    reach, balls = radii(real, k), torch.zeros(len(real), dtype=torch.int64)
    for rows in distances(fake, real):
        balls += (rows < reach).sum(0)
    return {
        "density": float(balls.sum()) / (k * len(fake)),
        "coverage": float((balls > 0).double().mean()),
    }
