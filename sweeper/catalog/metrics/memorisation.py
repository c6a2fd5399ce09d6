"""Whether samples are copies of training examples, which the Fréchet distance does not see."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.catalog.metrics.neighbours import distances
from sweeper.registry import Uniform

LOOKED_AT = 2000
"""Fakes, and training examples, whose nearest training example is looked for."""


class Nearest(NamedTuple):
    """The nearest training example of each fake: its index, and its distance in features (n,)."""

    indices: Tensor
    distances: Tensor


@metrics.register(paper="meehan2020")
def memorisation(
    compared: Compared, *, near: Annotated[float, Gt(0), Lt(1), Uniform(0.1, 0.5)] = 0.2
) -> dict[str, float]:
    """How near fakes are to training examples, next to how near those are to each other.

    ``memorisation_ratio`` is the median distance, in features, of a fake from its nearest training
    example, over that of a training example from its nearest other one: about 1 for fresh samples,
    0 for copies. ``memorised`` is the share of fakes nearer than ``near`` times the latter. NaN
    with fewer than two training examples, or if most of them have a double.
    """
    names = "memorisation_ratio", "memorised"
    training = compared.training
    if training is None or len(training) < 2 or not len(compared.fake) or not compared.finite:
        return unknown(*names)
    found = nearest_training(compared.fake.features[:LOOKED_AT], training.features).distances
    usual = float(_apart(training.features, compared.some(training, LOOKED_AT)).median())
    if not usual > 0:
        return unknown(*names)
    values = float(found.median()) / usual, float((found < near * usual).double().mean())
    return dict(zip(names, values, strict=True))


def nearest_training(fakes: Tensor, training: Tensor) -> Nearest:
    """The training example, of features (N, d), that is nearest to each fake's (n, d)."""
    found = [rows.min(1) for rows in distances(fakes, training)]
    return Nearest(
        torch.cat([rows.indices for rows in found]), torch.cat([rows.values for rows in found])
    )


def _apart(x: Tensor, chosen: Tensor) -> Tensor:
    """How far some rows of x (n, d) are from the nearest other one."""
    return torch.cat([rows.kthvalue(2).values for rows in distances(x[chosen], x)])
