"""The kernel Inception distance, which has no bias however few examples there are."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.registry import Integers

BLOCKS = 10
ROWS = 1024
"""Of a matrix of kernels, which are held at a time."""
QUANTILE = 2.262157
"""Of Student's t with as many degrees of freedom as blocks less one, at 97.5 %."""


@metrics.register(paper="binkowski2018")
def kid(
    compared: Compared,
    *,
    subsets: Annotated[int, Ge(1), Integers(10, 100)] = 100,
    size: Annotated[int, Ge(2), Integers(100, 1000)] = 1000,
) -> dict[str, float]:
    """The unbiased squared distance (MMD²) in the kernel (x·y / d + 1)³ of the features, or KID.

    The mean over random ``subsets`` of both sides, of at most ``size`` examples each. ``kid_low``
    and ``kid_high`` are the ends of a 95 % interval, from the spread over ten blocks that share no
    example, because that over subsets, which do, says too little; with few examples it is a little
    short. A value below zero is as good as zero. NaN with fewer than 2 examples; no interval with
    fewer than 20.
    """
    names = "kid", "kid_low", "kid_high"
    # In random order, so that no block is of one class because the data is sorted.
    real, fake = (
        side.features[compared.some(side, len(side))].double()
        for side in (compared.real, compared.fake)
    )
    n = min(len(real), len(fake), size)
    if not compared.finite or n < 2:
        return unknown(*names)
    whole = n == len(real) == len(fake)
    marked = [
        (
            one_hot(compared.some(compared.real, n), real),
            one_hot(compared.some(compared.fake, n), fake),
        )
        for _ in range(1 if whole else subsets)
    ]
    i, j = (torch.stack(side) for side in zip(*marked, strict=True))
    value = mmd(real, fake, i, j).mean()
    away = QUANTILE * torch.stack(list(_blocks(real, fake))).std() / BLOCKS**0.5
    return dict(zip(names, map(float, (value, value - away, value + away)), strict=True))


def one_hot(chosen: Tensor, rows: Tensor) -> Tensor:
    """1 for each of the rows that is chosen: (n,)."""
    return rows.new_zeros(len(rows)).index_fill(0, chosen.to(rows.device), 1.0)


def mmd(a: Tensor, b: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """The unbiased MMD² of each of S subsets of the rows of features a (n, d) and b (m, d), whose
    rows are 1 in i (S, n) and j (S, m), and all others 0: (S,). NaN for a single row."""
    (n, aa), (m, bb) = within(a, i), within(b, j)
    return aa + bb - 2 * pairs(a, b, i, j) / (n * m)


def within(a: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows each subset has, and the mean of the kernel over its pairs of two: (S,)."""
    n, alike = i.sum(1), ((a * a).sum(1) / a.shape[1] + 1) ** 3
    return n, (pairs(a, a, i, i) - i @ alike) / (n * (n - 1))


def pairs(a: Tensor, b: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """The sum of the kernel over all pairs of each subset: (S,)."""
    if len(a) * len(b) > i.sum(1) @ j.sum(1):
        chosen = zip(i.bool(), j.bool(), strict=True)
        return torch.stack([kernel(a[rows], b[columns]).sum() for rows, columns in chosen])
    # Subsets that overlap so much have most pairs in common.
    n = max(ceil(len(a) / ROWS), 1)
    parts = zip(a.chunk(n), i.chunk(n, 1), strict=True)
    return torch.stack([((marks @ kernel(rows, b)) * j).sum(1) for rows, marks in parts]).sum(0)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """(x·y / d + 1)³ of all rows x (n, d) and y (m, d): (n, m)."""
    near = a @ b.T / a.shape[1] + 1
    return near * near * near  # faster than pow()


def _blocks(real: Tensor, fake: Tensor) -> Iterator[Tensor]:
    for a, b in zip(real.tensor_split(BLOCKS), fake.tensor_split(BLOCKS), strict=True):
        yield mmd(a, b, a.new_ones(1, len(a)), b.new_ones(1, len(b)))[0]
