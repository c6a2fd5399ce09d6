"""Triangles: of known area, where they should be; and how exactly images of them are recognised."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeper.catalog.datasets.triangles import Polygons, Triangles, coverage
from sweeper.catalog.families import datasets
from sweeper.catalog.metrics.compared import Compared, Side
from sweeper.catalog.metrics.polygon_precision_recall import (
    known_of,
    polygon_precision_recall,
    share,
)

KIND = Polygons.of(3, 20.0, 0.75)


def side(examples: torch.Tensor) -> Side:
    return Side(examples, examples.flatten(1))


def shown(data: Triangles, first: int, n: int) -> torch.Tensor:
    images = np.stack([data[i].image for i in range(first, first + n)])
    return torch.from_numpy(images).float() / 127.5 - 1


def measured(fake: torch.Tensor, real: torch.Tensor | None = None, **knobs) -> tuple[float, ...]:
    real = shown(Triangles(), 0, 64) if real is None else real
    return tuple(polygon_precision_recall(Compared(side(real), side(fake)), **knobs).values())


def test_a_square_covers_its_pixels_exactly() -> None:
    corners = np.array([[[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]])
    wanted = np.zeros((8, 8))
    wanted[2:6, 2:6] = 1
    assert (coverage(corners, 8)[0] == wanted).all()
    half = coverage(corners + np.array([1 / 16, 0]), 8)[0]
    assert half[2:6, 2] == pytest.approx(0.5)
    assert half[2:6, 6] == pytest.approx(0.5)
    assert half.sum() == pytest.approx(16)


@given(st.integers(0, 10**6), st.sampled_from([3, 4, 5, 8]))
def test_polygons_are_of_their_area_inside_and_in_the_middle(seed: int, vertices: int) -> None:
    kind = Polygons.of(vertices, 20.0, 0.75)
    angles = kind.drawn(np.random.default_rng(seed), 1)
    gaps = np.diff(angles[0], append=angles[0, 0] + 2 * math.pi)
    assert gaps.min() >= math.radians(20) - 1e-9
    image = kind.images(angles, 64)[0]
    assert image.min() >= 0
    assert image.max() <= 1
    # Inscribed in a circle: R²/2 times the sum of the sines of the angles at its centre.
    assert image.mean() == pytest.approx(0.375**2 / 2 * np.sin(gaps).sum(), abs=5e-4)
    assert kind.clipped(angles) == pytest.approx(angles)


@given(st.integers(0, 10**6))
def test_what_is_clipped_is_of_the_kind(seed: int) -> None:
    random = np.random.default_rng(seed)
    clipped = KIND.clipped(random.uniform(-9, 9, (20, 3)) + KIND.arcs)
    gaps = np.diff(clipped, append=clipped[:, :1] + 2 * math.pi)
    assert gaps.min() >= math.radians(20) - 1e-9
    assert KIND.clipped(clipped) == pytest.approx(clipped)


def test_an_example_is_a_function_of_index_and_knobs() -> None:
    data = Triangles(size=28, seed=3)
    again = pickle.loads(pickle.dumps(data))
    assert (again[40].image == data[40].image).all()
    assert again.fingerprint() == data.fingerprint()
    assert data[0].image.shape == (1, 28, 28)
    assert data[0].label is None
    assert data.classes == ()
    assert (data[40].image != data[41].image).any()
    others = (Triangles(), Triangles(vertices=4), Triangles(scale=0.5), Triangles(length=9))
    others += (Triangles(min_segment_angle=10.0), Triangles(size=28), data)
    assert len({other.fingerprint() for other in others}) == len(others)


def test_corners_that_find_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 360 / vertices = 45 degrees, but got 50"):
        datasets["triangles"].make(vertices=8, min_segment_angle=50.0)


@pytest.mark.parametrize("size", [28, 32])
def test_real_triangles_are_precise_and_recall_all(size: int) -> None:
    data = Triangles(size=size)
    precision, recall, f1 = measured(shown(data, 64, 400), shown(data, 0, 64))
    assert precision == 1
    assert recall > 0.94
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("vertices", [4, 5])
def test_so_are_polygons_of_more_corners(vertices: int) -> None:
    data = Triangles(vertices=vertices)
    real, fake = shown(data, 0, 64), shown(data, 64, 150)
    assert measured(fake, real, vertices=vertices)[0] > 0.99
    assert measured(shown(Triangles(), 64, 30), real, vertices=vertices)[0] < 0.1


def test_what_is_no_triangle_is_not_precise() -> None:
    data = Triangles()
    fake = shown(data, 64, 60)
    random = torch.Generator().manual_seed(0)
    assert measured(torch.rand(fake.shape, generator=random) * 2 - 1) == (0, 0, 0)
    assert measured(-fake)[0] == 0, "white on black"
    assert measured(fake.roll(2, 3))[0] == 0, "not in the middle"
    blurred = torch.nn.functional.avg_pool2d(fake, 3, 1, 1, count_include_pad=False)
    assert measured(blurred)[0] == 0
    assert measured(shown(Triangles(vertices=5), 0, 60))[0] == 0
    assert measured(torch.cat([fake, -fake]))[0] == 0.5


def test_noise_counts_as_its_squared_distance() -> None:
    fake = shown(Triangles(), 64, 60)
    noise = torch.randn(fake.shape, generator=torch.Generator().manual_seed(0))
    # 1,024 pixels of deviation s in [0, 1] lie 1,024 s² from where they were.
    for squared, wanted in ((0.6, 1.0), (0.9, 0.0)):
        shaken = fake + 2 * (squared / 1024) ** 0.5 * noise
        assert measured(shaken)[0] == pytest.approx(wanted, abs=0.05)
        assert measured(shaken, within=1.1)[0] == 1


def test_the_nearest_triangle_is_found_again() -> None:
    angles = KIND.drawn(np.random.default_rng(5), 200)
    found = known_of(KIND, 32).nearest(KIND.images(angles, 32).reshape(200, -1), 0.75)
    assert found.distance.max() < 0.75
    again = KIND.images(found.angles, 64) - KIND.images(angles, 64)
    assert np.median(np.abs(again).sum((1, 2))) < 1e-6


def test_a_subset_recalls_its_share() -> None:
    angles = KIND.drawn(np.random.default_rng(7), 4000)
    upper = angles[(np.sin(angles) > 0).sum(1) >= 2]
    assert share(angles, KIND, 8) > 0.99
    assert 0.4 < share(upper, KIND, 8) < 0.75
    assert share(angles[:1], KIND, 8) < 0.05
    assert share(angles[:0], KIND, 8) == 0
    data = Triangles()
    same = shown(data, 64, 1).repeat(50, 1, 1, 1)
    precision, recall, f1 = measured(same)
    assert (precision, recall < 0.1, f1 < 0.2) == (1, True, True)


def test_sectors_do_not_depend_on_the_order_of_corners_or_on_whole_turns() -> None:
    angles = KIND.drawn(np.random.default_rng(8), 50)
    assert share(np.roll(angles, 1, 1) + 4 * math.pi, KIND, 8) == share(angles, KIND, 8)


def test_data_of_another_kind_has_no_value() -> None:
    fake = shown(Triangles(), 64, 10)
    for real in (shown(Triangles(vertices=5), 0, 30), torch.rand(30, 1, 32, 32)):
        assert all(math.isnan(v) for v in measured(fake, real))
    for odd in (fake.repeat(1, 3, 1, 1), fake[:0], fake * float("nan"), torch.zeros(9, 2)):
        assert all(math.isnan(v) for v in measured(odd, shown(Triangles(), 0, 64)))
