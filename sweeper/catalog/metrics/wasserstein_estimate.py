"""The Wasserstein distance between features, as far as it can be had from samples."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.registry import Integers


@metrics.register(paper="arjovsky2017")
def wasserstein_estimate(
    compared: Compared,
    *,
    size: Annotated[int, Ge(1), Integers(100, 1000)] = 500,
    subsets: Annotated[int, Ge(1), Integers(1, 10)] = 4,
) -> dict[str, float]:
    """The mean way that features of fakes have to go to be those of real examples (W₁).

    An assignment of least cost between ``size`` random examples of either side, exact for these;
    the mean over ``subsets``. Between samples it is larger than between what they were drawn
    from, the more so the more dimensions there are, so it is to be compared at one size only.
    """
    n = min(len(compared.real), len(compared.fake), size)
    if not compared.finite or not n:
        return unknown("wasserstein_estimate")
    real, fake = compared.real.features, compared.fake.features
    costs = [
        assigned(real[compared.some(compared.real, n)], fake[compared.some(compared.fake, n)])
        for _ in range(subsets)
    ]
    return {"wasserstein_estimate": sum(costs) / len(costs)}


def assigned(a: Tensor, b: Tensor) -> float:
    """The mean distance of two sets of n rows (n, d), each assigned to one of the other so that it
    is least."""
    # Imported here, because it takes a while.
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(a.double(), b.double())
    return float(cost[linear_sum_assignment(cost.numpy())].mean())
