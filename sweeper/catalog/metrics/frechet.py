"""The Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps
PRECISION = 1e-10
"""Of a distance, relatively."""


class Statistics(NamedTuple):
    """A Gaussian fitted to features: its mean (d,), and a root A (k, d) of its covariance AᵀA.

    With k <= d: the root comes from a QR factorisation of the centred features, or is those
    features themselves where there are fewer of them than dimensions. The covariance is never
    formed, so nothing is lost to squaring.
    """

    mean: Tensor
    root: Tensor

    @property
    def finite(self) -> bool:
        return bool(self.mean.isfinite().all() and self.root.isfinite().all())


class Moments:
    """A Gaussian fitted in one pass to features that come in chunks, in float64.

    A root of the scatter about the mean is kept, and each chunk is folded into it by another QR
    factorisation (TSQR, Demmel et al. 2012), so that memory is O(d²) however many there are.
    """

    def __init__(self) -> None:
        self.n = 0
        self._mean = self._root = torch.empty(0, 0, dtype=torch.float64)
        self._waiting, self._rows = list[Tensor](), 0

    def add(self, features: Tensor) -> None:
        """Look at some more features (n, d)."""
        self._waiting.append(features)
        self._rows += len(features)
        # A factorisation costs as much as folding in d rows, so it waits for as many.
        if self._rows >= features.shape[1]:
            self._fold()

    def statistics(self) -> Statistics:
        """The Gaussian, with the unbiased covariance. Raises ValueError for fewer than two
        samples."""
        if self._rows:
            self._fold()
        if self.n < 2:
            raise ValueError(f"a covariance takes at least two samples, but got {self.n}")
        return Statistics(self._mean, self._root / (self.n - 1) ** 0.5)

    def _fold(self) -> None:
        x = torch.cat(self._waiting).double()
        self._waiting, self._rows = [], 0
        mean, m = x.mean(0), len(x)
        rows = x - mean
        if self.n:
            shift = mean - self._mean
            # Chan et al. 1979: how far the two means are apart is scatter, too.
            apart = shift * (self.n * m / (self.n + m)) ** 0.5
            rows = torch.cat([self._root, rows, apart[None]])
            mean = self._mean + shift * (m / (self.n + m))
        self.n += m
        self._mean = mean
        self._root = rows if len(rows) <= rows.shape[1] else torch.linalg.qr(rows, mode="r").R


def statistics(features: Tensor) -> Statistics:
    """Fit a Gaussian to features (n, d), with the unbiased covariance. Raises ValueError for fewer
    than two."""
    moments = Moments()
    moments.add(features)
    return moments.statistics()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """‖μ_a - μ_b‖² + tr Σ_a + tr Σ_b - 2 tr (Σ_a Σ_b)^½, exact in float64; NaN where a Gaussian is
    not finite.

    With Σ = AᵀA the last trace is the sum of the singular values of A Bᵀ, whatever the ranks.
    """
    if not (a.finite and b.finite):
        return float("nan")
    apart = (a.mean - b.mean).square().sum() + a.root.square().sum() + b.root.square().sum()
    cross = a.root @ b.root.T
    cross = cross if len(cross) <= cross.shape[1] else cross.T
    # The eigenvalues of the square take a fifth of the time, and are as good as the singular values
    # where an estimate of what rounding does to their roots, some hundred times too high, says so.
    squares = torch.linalg.eigvalsh(cross @ cross.T).clamp(min=0)
    values = squares.sqrt()
    distance = apart - 2 * values.sum()
    rounding = EPSILON * squares[-1] * values.reciprocal().sum()
    if not rounding <= PRECISION * distance:
        distance = apart - 2 * torch.linalg.svdvals(cross).sum()
    return max(float(distance), 0.0)
