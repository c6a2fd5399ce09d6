"""The kernel Inception distance, which has no bias however few examples there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.registry import Integers

BLOCKS = 10
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
    value = torch.stack(
        [
            mmd(real[compared.some(compared.real, n)], fake[compared.some(compared.fake, n)])
            for _ in range(1 if whole else subsets)
        ]
    ).mean()
    away = QUANTILE * torch.stack(list(_blocks(real, fake))).std() / BLOCKS**0.5
    return dict(zip(names, map(float, (value, value - away, value + away)), strict=True))


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """The unbiased MMD² between rows of features (n, d) and (m, d); NaN for a single row."""
    n, m = len(a), len(b)
    aa, bb, ab = kernel(a, a), kernel(b, b), kernel(a, b)
    within = (aa.sum() - aa.trace()) / (n * (n - 1)) + (bb.sum() - bb.trace()) / (m * (m - 1))
    return within - 2 * ab.mean()


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """(x·y / d + 1)³ of all rows x (n, d) and y (m, d): (n, m)."""
    near = a @ b.T / a.shape[1] + 1
    return near * near * near  # faster than pow()


def _blocks(real: Tensor, fake: Tensor) -> Iterator[Tensor]:
    parts = zip(real.tensor_split(BLOCKS), fake.tensor_split(BLOCKS), strict=True)
    for a, b in parts:
        yield mmd(a, b) if min(len(a), len(b)) > 1 else torch.tensor(float("nan")).double()
