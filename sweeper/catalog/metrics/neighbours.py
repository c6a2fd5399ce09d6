"""Balls around examples that reach as far as their neighbours, in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CHUNK = 1000


def distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """The Euclidean distances (≤ 1000, m) of the rows of a (n, d) from those of b (m, d)."""
    # About a common centre, distances that are small next to the features keep their digits.
    centre = b.double().mean(0)
    b = b.double() - centre
    for chunk in torch.split(a, CHUNK):
        yield torch.cdist(chunk.double() - centre, b)


def radii(x: Tensor, k: int) -> Tensor:
    """The distance (n,) of each row of x (n, d) from its k-th nearest other row, for n > k."""
    return torch.cat([rows.kthvalue(k + 1).values for rows in distances(x, x)])
