"""How much of each class could be generated."""

from __future__ import annotations

import math
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.class_fid import TOLD
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.catalog.metrics.precision_recall import inside
from sweeper.registry import Integers


@metrics.register(paper="kynkaanniemi2019")
def class_recall(
    compared: Compared, *, k: Annotated[int, Ge(1), Integers(3, 10)] = 3
) -> dict[str, float]:
    """The share of each class's real examples among its fakes, their mean, and the worst of them.

    Recall is that of ``precision_recall``, with balls around the fakes of one class that reach to
    the ``k``-th nearest of them. A fake's class is the label that G was given, or else the vote of
    a classifier that gave the features; a class with k fakes or fewer has 0, and NaN without real
    examples. With more than 100 classes, none is told by itself. ``class_heard`` is the share of
    fakes that the classifier takes for the class that G was told, the mean over classes: NaN where
    it was told none. All NaN without classes.
    """
    classes = range(compared.classes)
    names = [f"class_recall_{c}" for c in classes] if compared.classes <= TOLD else []
    real, told, votes = compared.real, compared.fake.labels, compared.votes(compared.fake)
    label = votes if told is None else told
    if real.labels is None or label is None or not classes or not compared.finite:
        return unknown("class_recall_mean", "class_recall_worst", "class_heard", *names)
    found = [
        _recall(real.features[real.labels == c], compared.fake.features[label == c], k)
        for c in classes
    ]
    known = [value for value in found if not math.isnan(value)]
    return {
        "class_recall_mean": sum(known) / len(known) if known else math.nan,
        "class_recall_worst": min(known, default=math.nan),
        "class_heard": _heard(told, votes),
        **dict(zip(names, found, strict=False)),
    }


def _recall(real: Tensor, fake: Tensor, k: int) -> float:
    if not len(real):
        return math.nan
    return inside(real, fake, k) if len(fake) > k else 0.0


def _heard(told: Tensor | None, votes: Tensor | None) -> float:
    """The mean over classes of the share of fakes that are taken for what they were told to be."""
    if told is None or votes is None or not len(told):
        return math.nan
    right = (told == votes).double()
    shares = [float(right[told == c].mean()) for c in set(told.tolist())]
    return sum(shares) / len(shares)
