"""The sheet of samples that people look at: points among those of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sweeper.catalog.datasets.grid import Grid
from sweeper.catalog.datasets.store import pack
from sweeper.trial.samples import GREY, SIDE, Given, scatter, triptychs


def dark(picture: Image.Image, level: int = 0) -> set[tuple[int, int]]:
    """The pixels of a level, as column and row from below."""
    rows, columns = np.nonzero(np.array(picture) == level)
    return {(int(x), SIDE - 1 - int(y)) for x, y in zip(columns, rows, strict=True)}


def around(x: int, y: int) -> set[tuple[int, int]]:
    return {(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}


def test_points_are_where_they_should_be() -> None:
    corner = 4 / 5  # of what the picture shows: it reaches a quarter beyond the samples
    far, middle = round((1 + corner) / 2 * (SIDE - 1)), round((SIDE - 1) / 2)
    picture = scatter(torch.tensor([[2.0, 2.0], [0.0, 0.0]]), None)
    assert dark(picture) == around(far, far) | around(middle, middle)


def test_the_data_give_the_extent_and_are_grey(tmp_path: Path) -> None:
    store = pack(Grid(length=250, deviation=1e-6), tmp_path)
    outside = torch.tensor([[6.0, 0.0], [float("nan"), 0.0], [0.0, -1e9]])
    picture = triptychs(outside, Given(None, store))
    assert dark(picture) == set()
    modes = dark(picture, GREY)
    assert 25 * 9 <= len(modes) <= 25 * 16  # a centre between two pixels has points on both
    same = triptychs(store[torch.arange(250)], Given(None, store))
    assert dark(same) == modes
    assert dark(same, GREY) == set()


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_every_sample_is_seen_without_data(spread: float) -> None:
    points = spread * torch.tensor([[1.0, -1.0], [-1.0, 0.5], [0.0, 0.0]])
    assert len(dark(scatter(points, None))) == 3 * 9
