"""The metrics, against closed forms, references written plainly, and others' code."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, jensenshannon
from scipy.stats import wasserstein_distance
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, Side
from sweeper.catalog.metrics.frechet import frechet_distance, statistics
from sweeper.catalog.metrics.inception_score import scored
from sweeper.catalog.metrics.kid import mmd, one_hot
from sweeper.catalog.metrics.memorisation import nearest_training
from sweeper.catalog.metrics.mode_coverage import counted, near_centres
from sweeper.catalog.metrics.sliced_wasserstein import squared
from sweeper.catalog.metrics.wasserstein_estimate import assigned

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric


def drawn(n: int, d: int = 2, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double() + shift


def points(x: Tensor, **more: Any) -> Side:
    """A side whose features are its points."""
    return Side(x, x, **more)


def measured(name: str, real: Tensor, fake: Tensor, **knobs: Any) -> dict[str, float]:
    return measure(name, Compared(points(real), points(fake)), **knobs)


def measure(name: str, compared: Compared, **knobs: Any) -> dict[str, float]:
    compared.random.manual_seed(0)
    return dict(metrics[name].make(**knobs)(compared))


def full(n: int, seed: int = 0, **changes: Any) -> Side:
    """A side that has all that there can be, of three classes."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=random)
    held = {
        "features": torch.cat([x, x.square()], 1),
        "labels": torch.arange(n) % 3,
        "logits": torch.randn(n, 3, generator=random),
    }
    return Side(x, **{**held, **changes})


def whole(fake: Side, **changes: Any) -> Compared:
    held = {"training": full(80, 9), "centres": torch.eye(2), "deviation": 0.5, "classes": 3}
    return Compared(full(60, 1), fake, **{**held, **changes})


EVERY = pytest.mark.parametrize("name", metrics)


@EVERY
def test_a_generator_of_any_kind_yields_values_of_the_same_names(name: str) -> None:
    names = list(measure(name, whole(full(50))))
    nothing = torch.empty(0, dtype=torch.int64)
    kinds = {
        "constant": full(50, features=torch.ones(50, 4), logits=torch.ones(50, 3)),
        "NaN": Side(torch.full((50, 2), math.nan), torch.full((50, 4), math.nan), logits=None),
        "infinite": full(50, features=torch.full((50, 4), math.inf)),
        "none": Side(torch.empty(0, 2), torch.empty(0, 4), nothing, torch.empty(0, 3)),
        "one": full(1),
        "two": full(2),
        "without labels": full(50, labels=None, logits=None),
        "huge": full(50, features=1e18 * torch.ones(50, 4)),
    }
    for kind, side in kinds.items():
        found = measure(name, whole(side))
        assert list(found) == names, kind
        assert all(isinstance(value, int | float) for value in found.values()), kind
    bare = Compared(full(60, 1, labels=None, logits=None), full(50, labels=None, logits=None))
    assert all(isinstance(value, int | float) for value in measure(name, bare).values())


@EVERY
def test_no_metric_is_had_from_samples_that_are_not_finite(name: str) -> None:
    x = torch.full((50, 2), math.nan)
    logits = torch.full((50, 3), math.nan)
    broken = full(50, features=torch.full((50, 4), math.nan), logits=logits)
    for side in (broken, Side(x, broken.features, broken.labels, logits)):
        assert all(math.isnan(value) for value in measure(name, whole(side)).values())


@EVERY
def test_neither_order_nor_run_makes_a_difference_beyond_what_is_drawn(name: str) -> None:
    compared = whole(full(50))
    first, again = (measure(name, compared) for _ in range(2))
    assert [f"{v}" for v in first.values()] == [f"{v}" for v in again.values()]
    knobs = metrics[name].knobs.model_fields
    assert not any(info.is_required() for info in knobs.values())


def test_every_name_of_a_value_is_of_one_metric() -> None:
    names = [key for name in metrics for key in measure(name, whole(full(50)))]
    assert len(names) == len(set(names))


# KID


def reference_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """As in the paper: sums over pairs."""
    k = lambda x, y: (x @ y / len(x) + 1) ** 3  # noqa: E731
    n, m = len(a), len(b)
    aa = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    bb = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return float(aa + bb - 2 * sum(k(x, y) for x in a for y in b) / (n * m))


@given(
    n=st.integers(2, 12),
    m=st.integers(2, 12),
    d=st.integers(1, 5),
    subsets=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_mmd_of_subsets_is_a_sum_over_pairs(
    n: int, m: int, d: int, subsets: int, seed: int
) -> None:
    """Of few subsets, and of so many that all pairs at once are fewer."""
    a, b = drawn(n, d, seed), drawn(m, d, seed + 1, 0.5)
    random = torch.Generator().manual_seed(seed)
    sizes = (2 + seed % (n - 1), 2 + seed % (m - 1))
    i, j = (
        torch.stack(
            [one_hot(torch.randperm(len(x), generator=random)[:k], x) for _ in range(subsets)]
        )
        for x, k in zip((a, b), sizes, strict=True)
    )
    wanted = [
        reference_mmd(a[rows].numpy(), b[columns].numpy())
        for rows, columns in zip(i.bool(), j.bool(), strict=True)
    ]
    assert mmd(a, b, i, j).tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_kid_of_the_same_subsets_is_torch_fidelitys() -> None:
    a, b = drawn(300, 16, 0), drawn(200, 16, 1, 0.3)
    kwargs = {"kid_subsets": 7, "kid_subset_size": 90, "rng_seed": 5, "verbose": False}
    theirs = kid_features_to_metric(a, b, **kwargs)
    random, i, j = np.random.RandomState(5), list[Tensor](), list[Tensor]()
    for _ in range(7):
        i.append(one_hot(torch.from_numpy(random.choice(300, 90, replace=False)), a))
        j.append(one_hot(torch.from_numpy(random.choice(200, 90, replace=False)), b))
    values = mmd(a, b, torch.stack(i), torch.stack(j))
    assert float(values.mean()) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert float(values.std(correction=0)) == pytest.approx(
        theirs["kernel_inception_distance_std"], rel=1e-6
    )


def true_mmd(shift: float, sigma: float) -> float:
    """MMD² in (x y + 1)³ between N(0, σ²) and N(shift, σ²): the squared distance of the first three
    moments, in weights 3, 3, 1."""
    first, second, third = shift, shift**2, shift**3 + 3 * shift * sigma**2
    return 3 * first**2 + 3 * second**2 + third**2


def test_the_interval_of_kid_holds_the_truth_as_often_as_it_says() -> None:
    held, values, truth = 0, list[float](), true_mmd(0.5, 0.5)
    for seed in range(200):
        real, fake = (0.5 * drawn(100, 1, 2 * seed + i) + 0.5 * i for i in range(2))
        found = measured("kid", real, fake, subsets=20, size=50)
        held += found["kid_low"] <= truth <= found["kid_high"]
        values.append(found["kid"])
    # 95 % of 200 would be 190, but sums of cubes are skewed when there are ten in a block.
    assert 170 <= held <= 198
    assert abs(np.mean(values) - truth) < 3 * np.std(values) / len(values) ** 0.5


def test_kid_takes_no_more_than_there_is() -> None:
    a, b = drawn(40, 3), drawn(30, 3, 1)
    assert measured("kid", a, b[:2])["kid"] == measured("kid", a, b[:2])["kid"]
    same = measured("kid", a[:30], b, size=30, subsets=3)["kid"]
    assert same == pytest.approx(reference_mmd(a[:30].numpy(), b.numpy()), rel=1e-9)
    few = measured("kid", a[:19], b)
    assert math.isfinite(few["kid"])
    assert math.isnan(few["kid_low"])


# Inception Score


@pytest.mark.parametrize("splits", [1, 3, 10])
def test_inception_score_is_torch_fidelitys(splits: int) -> None:
    logits = 3 * drawn(101, 7)
    theirs = isc_features_to_metric(logits, splits, shuffle=False)
    ours = scored(logits, splits)
    if 101 % splits == 0:
        assert float(ours.mean()) == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    parts = [logits[i * 101 // splits : (i + 1) * 101 // splits] for i in range(splits)]
    each = [float(scored(part, 1)) for part in parts]
    assert np.mean(each) == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert np.std(each) == pytest.approx(theirs["inception_score_std"], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_inception_score_counts_the_classes_of_a_sure_classifier(classes: int) -> None:
    sure = 1e3 * torch.eye(classes).double().repeat(20, 1)
    fake = Side(sure, sure, logits=sure)
    found = measure("inception_score", Compared(fake, fake), splits=1)
    assert found["inception_score"] == pytest.approx(classes)
    unsure = Side(sure, sure, logits=torch.zeros_like(sure))
    found = measure("inception_score", Compared(fake, unsure))
    assert found["inception_score"] == pytest.approx(1)


# Precision, recall, density, coverage


def plainly(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """One pair after another."""

    def reach(x: np.ndarray) -> list[float]:
        return [sorted(np.linalg.norm(x - row, axis=1))[k] for row in x]

    around_real, around_fake = reach(real), reach(fake)
    apart = [[float(np.linalg.norm(x - y)) for x in real] for y in fake]
    in_real = [[d < r for d, r in zip(row, around_real, strict=True)] for row in apart]
    return {
        "precision": float(
            np.mean([any(d <= r for d, r in zip(row, around_real, strict=True)) for row in apart])
        ),
        "recall": float(
            np.mean(
                [
                    any(apart[j][i] <= around_fake[j] for j in range(len(fake)))
                    for i in range(len(real))
                ]
            )
        ),
        "density": float(np.mean([sum(row) / k for row in in_real])),
        "coverage": float(np.mean(np.any(in_real, axis=0))),
    }


@given(
    n=st.integers(9, 30),
    m=st.integers(9, 30),
    k=st.integers(1, 8),
    seed=st.integers(0, 99),
    far=st.sampled_from([0.0, 1e6]),
)
def test_neighbourhoods_are_as_written_plainly(
    n: int, m: int, k: int, seed: int, far: float
) -> None:
    real, fake = drawn(n, 3, seed, far), drawn(m, 3, seed + 1, far + 0.7)
    expected = plainly(real.numpy(), fake.numpy(), k)
    found = measured("precision_recall", real, fake, k=k)
    assert found == pytest.approx({key: expected[key] for key in found})
    found = measured("density_coverage", real, fake, k=k)
    assert found == pytest.approx({key: expected[key] for key in found})


@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_torch_fidelitys(k: int) -> None:
    real, fake = drawn(1300, 8), drawn(1100, 8, 1, 0.8)
    theirs = prc_features_to_metric(
        fake, real, prc_neighborhood=k, prc_batch_size=500, save_cpu_ram=False, verbose=False
    )
    ours = measured("precision_recall", real, fake, k=k)
    assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-4)
    assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-4)


def test_who_makes_one_kind_well_has_precision_and_no_recall() -> None:
    real = torch.cat([drawn(200), drawn(200, seed=1, shift=30.0)])
    one, apart = drawn(400, seed=2), drawn(400, seed=3, shift=-30.0)
    found = measured("precision_recall", real, one)
    assert found["precision"] > 0.9
    assert 0.4 < found["recall"] <= 0.5
    assert measured("density_coverage", real, one)["coverage"] <= 0.5
    assert measured("precision_recall", real, apart) == {"precision": 0, "recall": 0}
    assert measured("density_coverage", real, apart) == {"density": 0, "coverage": 0}


def test_density_and_coverage_of_real_examples_are_one_nearly() -> None:
    found = measured("density_coverage", drawn(1000), drawn(1000, seed=1))
    assert found["density"] == pytest.approx(1, abs=0.05)
    # Naeem et al.: the expected coverage is 1 - C(n-1, k) ratios, 1 - 2^-k in the limit.
    assert found["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)


# FID infinity


def test_fid_infinity_is_nearer_to_the_truth_than_fid() -> None:
    n, d, shift = 200, 10, 0.2
    real = drawn(20_000, d, 10**6)
    plain, extrapolated = list[float](), list[float]()
    for seed in range(100):
        fake = drawn(n, d, seed, shift)
        plain.append(frechet_distance(statistics(real), statistics(fake)))
        extrapolated.append(measured("fid_infinity", real, fake)["fid_infinity"])
    truth = d * shift**2
    error = np.std(extrapolated) / len(extrapolated) ** 0.5
    assert np.mean(plain) > truth + 0.1
    assert abs(np.mean(extrapolated) - truth) < max(3 * error, 0.1 * (np.mean(plain) - truth))


# Classes


def test_the_distance_of_each_class_is_taken_within_it() -> None:
    real, fake = drawn(90, 4), drawn(60, 4, 1)
    labels = torch.arange(90) % 3
    fake[labels[:60] == 2] += 5
    compared = Compared(
        points(real, labels=labels), points(fake, labels=labels[:60].clone()), classes=3
    )
    found = measure("class_fid", compared, least=20)
    for c in range(3):
        pair = statistics(real[labels == c]), statistics(fake[labels[:60] == c])
        assert found[f"class_fid_{c}"] == pytest.approx(frechet_distance(*pair))
    assert found["class_fid_worst"] == found["class_fid_2"] > 50
    assert found["class_fid_mean"] == pytest.approx(
        sum(found[f"class_fid_{c}"] for c in range(3)) / 3
    )
    assert found["class_fid_unknown"] == 0


def test_a_class_that_is_rare_or_not_made_is_told() -> None:
    labels = torch.tensor([0] * 30 + [1] * 5 + [2] * 30)
    votes = torch.eye(3)[torch.tensor([0] * 40 + [1] * 25)]
    fake = Side(drawn(65), drawn(65), logits=votes)
    found = measure("class_fid", Compared(points(drawn(65, seed=1), labels=labels), fake, 3))
    assert math.isfinite(found["class_fid_0"])
    assert math.isnan(found["class_fid_1"])
    assert found["class_fid_unknown"] == 1
    assert found["class_fid_2"] == found["class_fid_worst"] == math.inf
    many = Compared(points(drawn(65), labels=labels), fake, classes=101)
    assert set(measure("class_fid", many)) == {
        "class_fid_mean", "class_fid_worst", "class_fid_unknown",
    }  # fmt: skip


# Modes


def test_votes_find_modes_and_weigh_them_against_the_data() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    real = points(drawn(100), labels=labels)
    as_real = Side(drawn(100), drawn(100), logits=torch.eye(3)[labels])
    found = measure("mode_coverage", Compared(real, as_real, classes=3))
    assert found["modes"] == 3
    assert found["reverse_kl"] == pytest.approx(0, abs=1e-12)
    one = Side(drawn(100), drawn(100), logits=torch.eye(3)[torch.zeros(100).long()])
    found = measure("mode_coverage", Compared(real, one, classes=3))
    assert found["modes"] == 1
    assert found["reverse_kl"] == pytest.approx(-math.log(0.6), abs=0.05)


def test_points_find_the_modes_that_they_are_near() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    fake = torch.tensor([[0.1, 0.0], [0.0, -0.2], [10.0, 0.0], [5.0, 5.0]])
    compared = Compared(points(centres), points(fake), centres=centres, deviation=0.1)
    found = measure("mode_coverage", compared)
    assert (found["modes"], found["quality"]) == (2, 0.75)
    expected = 2 / 3 * math.log(8 / 3) + 1 / 3 * math.log(4 / 3)
    assert found["reverse_kl"] == pytest.approx(expected)
    assert tuple(found.values()) == near_centres(fake, centres, 0.1)
    assert counted(torch.zeros(4), 9) == (0, 0.0, math.inf)


# Wasserstein distances


@given(n=st.integers(1, 30), seed=st.integers(0, 99))
def test_the_assignment_is_the_sorted_one_on_a_line(n: int, seed: int) -> None:
    a, b = drawn(n, 1, seed), drawn(n, 1, seed + 1, 2.0)
    expected = wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert assigned(a, b) == pytest.approx(expected, rel=1e-9)


def test_a_shift_costs_its_length() -> None:
    a = drawn(300, 3)
    moved = a + torch.tensor([3.0, 4.0, 0.0])
    assert measured("wasserstein_estimate", a, moved, size=300)[
        "wasserstein_estimate"
    ] == pytest.approx(5)
    masses = torch.zeros(10, 2), torch.full((10, 2), 0.0).index_fill(1, torch.tensor([0]), 7.0)
    assert measured("wasserstein_estimate", *masses)["wasserstein_estimate"] == pytest.approx(7)
    # Where the divergence of Jensen and Shannon stays at ln 2, this one follows.
    for distance in (1.0, 10.0):
        js = measured("js_divergence_toy", masses[0], masses[0] + distance)
        assert js["js_divergence_toy"] == pytest.approx(math.log(2))


@given(n=st.integers(1, 20), m=st.integers(1, 20), seed=st.integers(0, 99))
def test_along_a_line_quantiles_are_matched_whatever_their_numbers(
    n: int, m: int, seed: int
) -> None:
    a, b = drawn(n, 2, seed), drawn(m, 2, seed + 1, 1.0)
    many_a = a.sort(0).values.repeat_interleave(m, 0)
    many_b = b.sort(0).values.repeat_interleave(n, 0)
    torch.testing.assert_close(squared(a, b), (many_a - many_b).square().mean(0))


@pytest.mark.parametrize("directions", [2, 3, 64])
def test_a_shift_in_the_plane_is_seen_from_every_side(directions: int) -> None:
    a = drawn(50)
    found = measured("sliced_wasserstein", a, a + torch.tensor([3.0, 4.0]), directions=directions)
    # The mean of (shift · direction)² is half of the squared length.
    assert found["sliced_wasserstein"] == pytest.approx(5 / 2**0.5)
    assert measured("sliced_wasserstein", a, a)["sliced_wasserstein"] == 0


def test_a_shift_in_space_is_seen_from_every_side() -> None:
    a = drawn(50, 3)
    found = measured("sliced_wasserstein", a, a + torch.tensor([3.0, 4.0, 0.0]), directions=20_000)
    assert found["sliced_wasserstein"] == pytest.approx(5 / 3**0.5, rel=0.02)


# Jensen and Shannon


@given(bins=st.integers(2, 20), seed=st.integers(0, 99), shift=st.floats(0, 3))
def test_the_divergence_of_histograms_is_scipys(bins: int, seed: int, shift: float) -> None:
    a, b = drawn(100, 2, seed), drawn(80, 2, seed + 1, shift)
    both = torch.cat([a, b]).numpy()
    extent = list(zip(both.min(0), both.max(0), strict=True))
    p, q = (np.histogram2d(*x.numpy().T, bins, extent)[0].ravel() for x in (a, b))
    found = measured("js_divergence_toy", a, b, bins=bins)["js_divergence_toy"]
    assert found == pytest.approx(float(jensenshannon(p, q)) ** 2, abs=1e-12)
    assert 0 <= found <= math.log(2) + 1e-12


# Copies


def test_copies_are_found_and_named() -> None:
    training = drawn(500, 8)
    fresh, copies = drawn(100, 8, 1), training[torch.arange(0, 500, 5)]
    compared = Compared(points(fresh), points(fresh), training=points(training))
    found = measure("memorisation", compared)
    assert found["memorisation_ratio"] == pytest.approx(1, abs=0.1)
    assert found["memorised"] < 0.02
    nearly = copies + 1e-3 * fresh
    compared = Compared(points(fresh), points(nearly), training=points(training))
    found = measure("memorisation", compared)
    assert found["memorisation_ratio"] < 0.01
    assert found["memorised"] == 1
    named = nearest_training(nearly, training)
    assert named.indices.tolist() == list(range(0, 500, 5))
    assert named.distances.numpy() == pytest.approx(
        cdist(nearly.numpy(), training.numpy()).min(1), rel=1e-6
    )


def test_half_of_the_samples_being_copies_is_half_memorised() -> None:
    training, fresh = drawn(500, 8), drawn(100, 8, 1)
    half = torch.cat([training[:100], fresh])
    compared = Compared(points(fresh), points(half), training=points(training))
    assert measure("memorisation", compared)["memorised"] == pytest.approx(0.5, abs=0.02)


KNOBS = [
    (name, knob)
    for name, entry in metrics.items()
    for knob in entry.knobs.model_fields
    if entry.recommended(knob) is not None
]


@pytest.mark.parametrize(("name", "knob"), KNOBS)
def test_the_ends_of_a_knob_lead_to_other_values(name: str, knob: str) -> None:
    recommended: Any = metrics[name].recommended(knob)
    ends = getattr(recommended, "values", None) or (recommended.low, recommended.high)
    compared = Compared(full(150, 1), full(200, 2), 3, training=full(150, 3))
    low, high = ({**measure(name, compared, **{knob: end})} for end in (ends[0], ends[-1]))
    assert repr(low) != repr(high)
