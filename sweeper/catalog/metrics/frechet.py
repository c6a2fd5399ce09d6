"""The Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """A Gaussian fitted to features: its mean (d,), and a root A (k, d) of its covariance AᵀA.

    With k <= d: the root comes from a QR factorisation of the centred features, or is those
    features themselves where there are fewer of them than dimensions. The covariance is never
    formed, so nothing is lost to squaring.
    """

    mean: Tensor
    root: Tensor


def statistics(features: Tensor) -> Statistics:
    """Fit a Gaussian to features (n, d), with the unbiased covariance. Raises ValueError for fewer
    than two."""
    if len(features) < 2:
        raise ValueError(f"a covariance takes at least two samples, but got {len(features)}")
    x = features.double()
    mean = x.mean(0)
    centred = (x - mean) / (len(x) - 1) ** 0.5
    n, d = centred.shape
    return Statistics(mean, centred if n <= d else torch.linalg.qr(centred, mode="r").R)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """‖μ_a - μ_b‖² + tr Σ_a + tr Σ_b - 2 tr (Σ_a Σ_b)^½, exact in float64.

    With Σ = AᵀA the last trace is the sum of the singular values of A Bᵀ, whatever the ranks.
    """
    cross = torch.linalg.svdvals(a.root @ b.root.T).sum()
    distance = (
        (a.mean - b.mean).square().sum() + a.root.square().sum() + b.root.square().sum() - 2 * cross
    )
    return max(float(distance), 0.0)
