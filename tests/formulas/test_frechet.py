"""The Fréchet distance, against others' code and exact references."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sweeper.catalog.metrics.frechet import Statistics, frechet_distance, statistics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric


def features(n: int, d: int, seed: int, *, shift: float = 0.0) -> Tensor:
    """Correlated features, of unequal scales."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x @ (mix + torch.diag(torch.linspace(0.5, 2, d).double())) + shift


def ours(a: Tensor, b: Tensor) -> float:
    return frechet_distance(statistics(a), statistics(b))


def torch_fidelity(a: Tensor, b: Tensor) -> float:
    both = [{"mu": x.mean(0).numpy(), "sigma": np.cov(x.numpy(), rowvar=False)} for x in (a, b)]
    return float(fid_statistics_to_metric(*both, verbose=False)[KEY_METRIC_FID])


def exact(a: Tensor, b: Tensor) -> float:
    """From the symmetric roots of both covariances, each by a singular value decomposition."""
    roots, squares = list[np.ndarray](), 0.0
    for x in (a.numpy(), b.numpy()):
        centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
        _, s, vt = np.linalg.svd(centred, full_matrices=False)
        roots.append((vt.T * s) @ vt)
        squares += (s**2).sum()
    mean = a.numpy().mean(0) - b.numpy().mean(0)
    cross = np.linalg.svd(roots[0] @ roots[1], compute_uv=False).sum()
    return float(mean @ mean + squares - 2 * cross)


@pytest.mark.parametrize("d", [64, 256])
def test_agrees_with_torch_fidelity_at_full_rank(d: int) -> None:
    a, b = features(6 * d, d, 0), features(5 * d, d, 1, shift=0.1)
    assert ours(a, b) == pytest.approx(torch_fidelity(a, b), rel=1e-9)
    assert ours(a, b) == pytest.approx(exact(a, b), rel=1e-9)


@pytest.mark.parametrize("n", [2, 10, 63])
@pytest.mark.parametrize("m", [5, 64, 300])
def test_is_exact_with_fewer_samples_than_dimensions(n: int, m: int) -> None:
    a, b = features(n, 64, 0), features(m, 64, 1)
    assert ours(a, b) == pytest.approx(exact(a, b), rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(10, 64), (500, 64), (64, 64)])
def test_is_zero_between_a_set_and_itself(n: int, d: int) -> None:
    a = features(n, d, 0)
    assert ours(a, a) == pytest.approx(0, abs=1e-9 * float(a.square().sum() / n))
    assert ours(a, a[torch.randperm(n, generator=torch.Generator().manual_seed(0))]) < 1e-6


@pytest.mark.parametrize(("n", "d"), [(20, 64), (500, 64), (100, 3)])
def test_a_shift_by_one_in_every_dimension_costs_one_for_each(n: int, d: int) -> None:
    a = features(n, d, 0)
    assert ours(a, a + 1) == pytest.approx(d, rel=1e-9)


@pytest.mark.parametrize("d", [1, 7, 64])
def test_unit_covariance_against_four_times_that(d: int) -> None:
    eye, mean = torch.eye(d).double(), torch.zeros(d).double()
    # tr I + tr 4I - 2 tr (4I)^½ = d + 4d - 4d
    assert frechet_distance(Statistics(mean, eye), Statistics(mean, 2 * eye)) == pytest.approx(d)
    a = features(10 * d + 10, d, 0)
    spread = float(a.var(0).sum())
    assert ours(a, 2 * a - a.mean(0)) == pytest.approx(spread, rel=1e-9)


@given(n=st.integers(2, 40), m=st.integers(2, 40), d=st.integers(1, 20), seed=st.integers(0, 999))
def test_is_symmetric_and_no_less_than_the_distance_of_means(
    n: int, m: int, d: int, seed: int
) -> None:
    a, b = features(n, d, seed), features(m, d, seed + 1, shift=0.5)
    distance = ours(a, b)
    assert distance == pytest.approx(ours(b, a), rel=1e-9)
    assert distance >= float((a.mean(0) - b.mean(0)).square().sum()) * (1 - 1e-9)


@given(d=st.integers(1, 20), seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
def test_grows_with_the_square_of_the_scale(d: int, seed: int, scale: float) -> None:
    a, b = features(30, d, seed), features(25, d, seed + 1)
    assert ours(scale * a, scale * b) == pytest.approx(scale**2 * ours(a, b), rel=1e-6)


def test_single_precision_features_are_fitted_in_double() -> None:
    a = features(300, 8, 0).float() + 1000
    assert ours(a, a + 1) == pytest.approx(8, rel=1e-3)
    assert statistics(a).root.dtype == torch.float64


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two samples, but got 1"):
        statistics(torch.zeros(1, 4))
