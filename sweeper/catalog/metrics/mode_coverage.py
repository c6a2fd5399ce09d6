"""Which modes of a known mixture samples fall into."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Coverage(NamedTuple):
    """How many modes were found, the share of samples close to one, and the reverse KL
    divergence (nats) of the modes' histogram from the uniform one."""

    modes: int
    quality: float
    reverse_kl: float


def mode_coverage(points: Tensor, centres: Tensor, deviation: float) -> Coverage:
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
