"""How much of what is generated could be real, and how much of what is real could be generated."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.catalog.metrics.neighbours import distances, radii
from sweeper.registry import Integers


@metrics.register(paper="kynkaanniemi2019")
def precision_recall(
    compared: Compared, *, k: Annotated[int, Ge(1), Integers(3, 10)] = 3
) -> dict[str, float]:
    """The share of fakes among real examples (precision), and of those among fakes (recall).

    An example is among others when it lies in the ball around one of them, in features, that
    reaches to its ``k``-th nearest of its own kind. NaN with k examples or fewer.
    """
    real, fake = compared.real.features, compared.fake.features
    if not compared.finite or min(len(real), len(fake)) <= k:
        return unknown("precision", "recall")
    return {"precision": inside(fake, real, k), "recall": inside(real, fake, k)}


def inside(x: Tensor, among: Tensor, k: int) -> float:
    """The share of rows of x (n, d) in the balls around the rows of another set (m, d)."""
    reach = radii(among, k)
    return float(
        torch.cat([(rows <= reach).any(1) for rows in distances(x, among)]).double().mean()
    )
