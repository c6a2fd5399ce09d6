"""How sure a classifier is of each fake, and how many classes there are among all."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.registry import Integers


@metrics.register(paper="salimans2016")
def inception_score(
    compared: Compared, *, splits: Annotated[int, Ge(1), Integers(1, 10)] = 10
) -> dict[str, float]:
    """The exponential of the mean KL divergence of a fake's class from that of all: exp KL(p ‖ p̄).

    The mean and the deviation over ``splits`` of the fakes, by the logits of whichever classifier
    gave the features: the score is called Inception's, and is comparable with that of papers, in
    Inception's features alone. It never looks at real examples. NaN without a classifier, and with
    fewer fakes than splits.
    """
    names = "inception_score", "inception_score_deviation"
    logits = compared.fake.logits
    if logits is None or len(logits) < splits or not logits.isfinite().all():
        return unknown(*names)
    scores = scored(logits[compared.some(compared.fake, len(logits))], splits)
    return dict(zip(names, (float(scores.mean()), float(scores.std(correction=0))), strict=True))


def scored(logits: Tensor, splits: int) -> Tensor:
    """The score (splits,) of each part of some logits (n, classes), in their order."""
    scores = list[Tensor]()
    for part in torch.tensor_split(logits.double(), splits):
        p, log_p = part.softmax(1), part.log_softmax(1)
        scores.append((p * (log_p - p.mean(0).log())).nansum(1).mean().exp())
    return torch.stack(scores)
