"""The Wasserstein distance between points, seen from all sides."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.registry import Integers


@metrics.register(paper="bonneel2015", needs={"points"})
def sliced_wasserstein(
    compared: Compared, *, directions: Annotated[int, Ge(1), Integers(16, 256)] = 64
) -> dict[str, float]:
    """The quadratic mean of the Wasserstein distances (W₂) of points along many directions.

    In the plane the directions are evenly spaced, else drawn from the sphere; along each the
    distance between the samples is exact, however many there are of either.
    """
    real, fake = compared.real.examples.double(), compared.fake.examples.double()
    if not compared.finite or not min(len(real), len(fake)):
        return unknown("sliced_wasserstein")
    if real.shape[1] == 2:
        angles = math.pi * torch.arange(directions, dtype=torch.float64) / directions
        along = torch.stack([angles.cos(), angles.sin()])
    else:
        drawn = torch.randn(real.shape[1], directions, generator=compared.random).double()
        along = torch.nn.functional.normalize(drawn, dim=0)
    return {"sliced_wasserstein": float(squared(real @ along, fake @ along).mean().sqrt())}


def squared(a: Tensor, b: Tensor) -> Tensor:
    """W₂² (k,) between the numbers in each column of a (n, k) and b (m, k)."""
    n, m = len(a), len(b)
    # Both quantile functions are constant between these steps, which are counted in 1 / (n m).
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).sort().values
    widths = ends.diff(prepend=ends.new_zeros(1)).double() / (n * m)
    gaps = a.sort(0).values[(ends - 1) // m] - b.sort(0).values[(ends - 1) // n]
    distance: Tensor = widths @ gaps.square()
    return distance
