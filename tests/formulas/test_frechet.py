"""The Fréchet distance, against others' code and exact references."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sweeper.catalog.metrics.frechet import Moments, Statistics, frechet_distance, statistics

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
    with pytest.raises(ValueError, match="at least two samples, but got 0"):
        Moments().statistics()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m"), [(2300, 300), (200, 300)])
def test_is_exact_in_as_many_dimensions_as_inception_has(n: int, m: int) -> None:
    a, b = features(n, 2048, 0), features(m, 2048, 1, shift=0.1)
    assert ours(a, b) == pytest.approx(exact(a, b), rel=1e-9)


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-6, 1e-8, 0.0])
def test_is_exact_whatever_little_some_features_vary(smallest: float) -> None:
    scale = torch.logspace(0, -8, 64).double().clamp(min=smallest)
    scale[-10:] = smallest
    a, b = features(500, 64, 0) * scale, features(400, 64, 1, shift=0.1) * scale
    assert ours(a, b) == pytest.approx(exact(a, b), rel=1e-9)
    assert ours(a, 1.0001 * a) == pytest.approx(exact(a, 1.0001 * a), rel=1e-6)


@pytest.mark.parametrize("kinds", [1, 2, 5])
@pytest.mark.parametrize("n", [20, 100, 500])
def test_is_exact_and_finite_for_a_collapsed_generator(kinds: int, n: int) -> None:
    real = features(400, 64, 0)
    fake = features(kinds, 64, 1, shift=0.1)[torch.arange(n) % kinds]
    assert math.isfinite(ours(real, fake))
    assert ours(real, fake) == pytest.approx(exact(real, fake), rel=1e-9)
    # Sums over n equal samples differ from n times one by rounding alone.
    assert ours(fake, fake) == pytest.approx(0, abs=1e-9 * float(fake.square().sum()))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_is_not_a_number_between_features_that_are_none(value: float) -> None:
    a, b = features(100, 8, 0), features(100, 8, 1)
    b[3, 2] = value
    assert math.isnan(ours(a, b))
    assert math.isnan(ours(b, a))


@given(
    n=st.integers(2, 60),
    d=st.integers(1, 20),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_one_pass_over_chunks_gives_what_all_at_once_does(
    n: int, d: int, cuts: list[int], offset: float
) -> None:
    x = features(n, d, 0, shift=offset)
    moments = Moments()
    for chunk in torch.tensor_split(x, sorted(cut % (n + 1) for cut in cuts)):
        moments.add(chunk)
    mean, root = moments.statistics()
    assert len(root) <= d
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-12, atol=1e-12)
    centred = x - x.mean(0)
    scale = float(centred.square().sum(0).max()) / (n - 1)
    rounding = 1e-12 * scale + 1e-15 * offset**2
    torch.testing.assert_close(
        root.T @ root, centred.T @ centred / (n - 1), rtol=1e-10, atol=rounding + 1e-10 * scale
    )


def test_what_is_kept_does_not_grow_with_the_number_of_samples() -> None:
    moments, held = Moments(), list[int]()
    for seed in range(50):
        moments.add(features(17, 6, seed))
        held.append(sum(t.numel() for t in (moments._mean, moments._root, *moments._waiting)))
    assert moments.statistics().root.shape == (6, 6)
    assert max(held) <= 6 + 6 * 6


def test_a_long_stream_keeps_its_digits() -> None:
    x = features(20_000, 5, 0, shift=1e3)
    moments = Moments()
    for chunk in torch.split(x, 7):
        moments.add(chunk)
    whole = statistics(x)
    assert frechet_distance(moments.statistics(), whole) < 1e-9
    assert moments.n == len(x)
