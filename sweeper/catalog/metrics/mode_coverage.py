"""Which modes samples fall into, where the modes are known."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown


class Coverage(NamedTuple):
    """How many modes were found, the share of samples close to one, and the reverse KL
    divergence (nats) of the modes' histogram from the one it should be."""

    modes: int
    quality: float
    reverse_kl: float


@metrics.register(paper="lin2018")
def mode_coverage(compared: Compared) -> dict[str, float]:
    """How many modes fakes fall into, the share of them that lie well, and the reverse KL.

    Of points, a mode is a Gaussian of the mixture, found by a fake within three deviations, and
    the reverse KL is KL(fakes ‖ uniform), in nats, infinite if none is that close. Of images, a
    mode is a class that the features' classifier takes a fake for, and the divergence is from
    the labels of real examples; half an example more in each class keeps it finite, and how many
    lie well is NaN. So is all where neither is known.
    """
    votes, labels = compared.votes(compared.fake), compared.real.labels
    if not compared.finite:
        return unknown(*Coverage._fields)
    if compared.centres is not None:
        points = compared.fake.examples
        return near_centres(points, compared.centres, compared.deviation)._asdict()
    if votes is None or labels is None or not len(votes):
        return unknown(*Coverage._fields)
    found = torch.bincount(votes, minlength=compared.classes)
    p, q = (
        (counts + 0.5) / (counts + 0.5).sum()
        for counts in (found.double(), torch.bincount(labels, minlength=compared.classes).double())
    )
    return Coverage(int((found > 0).sum()), math.nan, float((p * (p / q).log()).sum()))._asdict()


def near_centres(points: Tensor, centres: Tensor, deviation: float) -> Coverage:
    """Modes found by samples (N, K) of a mixture of Gaussians at centres (M, K), all of one
    deviation.

    A sample is of high quality within three deviations of the nearest centre, and a mode is found
    by one such sample or more (PacGAN's protocol, Lin et al. 2018). KL(samples ‖ modes) is over the
    samples of high quality; infinite when there are none.
    """
    distance, nearest = torch.cdist(points.double(), centres.double()).min(1)
    good = nearest[distance <= 3 * deviation]
    return counted(torch.bincount(good, minlength=len(centres)), len(points))


def counted(counts: Tensor, n: int) -> Coverage:
    """The coverage that the counts (M,) of samples in each mode amount to, among n samples."""
    total = int(counts.sum())
    if not total:
        return Coverage(0, 0.0, float("inf"))
    share = counts[counts > 0].double() / total
    return Coverage(
        int((counts > 0).sum()), total / n, float((share * (share * len(counts)).log()).sum())
    )
