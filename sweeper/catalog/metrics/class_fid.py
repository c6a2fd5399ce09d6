"""The Fréchet distance of each class."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, Side, unknown
from sweeper.catalog.metrics.frechet import frechet_distance, statistics
from sweeper.registry import Integers

TOLD = 100
"""Classes, of which at most so many are told one by one."""


@metrics.register(paper="miyato2018projection")
def class_fid(
    compared: Compared, *, least: Annotated[int, Ge(2), Integers(10, 100)] = 20
) -> dict[str, float]:
    """The Fréchet distance within each class (intra-FID), their mean, and the worst of them.

    A fake's class is the label that G was given, or else the vote of a classifier that gave the
    features. A class with fewer than ``least`` examples on a side is ``class_fid_<number>``: NaN,
    and counts among the ``class_fid_unknown``, or inf, if G makes fewer than two of it. With more
    than 100 classes, none is told by itself. All NaN without classes.
    """
    classes = range(compared.classes)
    names = [f"class_fid_{c}" for c in classes] if compared.classes <= TOLD else []
    real, fake = compared.real.labels, compared.fake.labels
    fake = compared.votes(compared.fake) if fake is None else fake
    if real is None or fake is None or not compared.classes or not compared.finite:
        return unknown("class_fid_mean", "class_fid_worst", "class_fid_unknown", *names)
    found = [_distance(compared.real, real == c, compared.fake, fake == c, least) for c in classes]
    known = [value for value in found if not math.isnan(value)]
    return {
        "class_fid_mean": sum(known) / len(known) if known else math.nan,
        "class_fid_worst": max(known, default=math.nan),
        "class_fid_unknown": len(found) - len(known),
        **dict(zip(names, found, strict=False)),
    }


def _distance(
    real: Side, of_real: torch.Tensor, fake: Side, of_fake: torch.Tensor, least: int
) -> float:
    there, made = int(of_real.sum()), int(of_fake.sum())
    if there >= least and made < 2:
        return math.inf
    if min(there, made) < least:
        return math.nan
    return frechet_distance(statistics(real.features[of_real]), statistics(fake.features[of_fake]))
