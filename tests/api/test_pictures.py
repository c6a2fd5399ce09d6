"""Pictures of what the best generators know."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

import sweeper
from sweeper.catalog import families as of
from sweeper.catalog.datasets.store import normalise
from sweeper.config import Slot
from sweeper.sweep import pictures
from sweeper.sweep.generate import generate, made, walk_for
from sweeper.sweep.plan import silent
from sweeper.sweep.trained import Trained
from sweeper.sweep.undrawn import undrawn
from sweeper.trial.evaluate import Evaluator


@pytest.fixture
def copy(results: sweeper.Results, tmp_path: Path) -> Iterator[Path]:
    """The results folder again, beside the first, without pictures."""
    folder = results.folder.parent / tmp_path.name
    shutil.copytree(results.folder, folder, ignore=shutil.ignore_patterns("pictures"))
    yield folder
    shutil.rmtree(folder)


def drawn(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "pictures").glob("*")}


def said(folder: Path, **how: bool) -> list[str]:
    told: list[str] = []
    pictures.draw(folder, told.append, **how)
    return told


def judge_of(results: sweeper.Results) -> Evaluator:
    found = results.best.trained
    trial = found.trial
    return Evaluator(trial.evaluation, trial.data, found.store(), found.cache, torch.device("cpu"))


def test_the_best_and_the_best_baseline_are_drawn(results: sweeper.Results) -> None:
    searched = results.trials[results.trials.baseline.isna()].sort_values("score")
    names = {searched.name.iloc[0], "t000"}
    expected = {f"{n}_{kind}.png" for n in names for kind in ("interpolation", "nearest")}
    assert set(drawn(results.folder)) == expected
    shown = Image.open(results.folder / "pictures" / "t000_nearest.png")
    told = "each sample, and the 5 nearest of 1,797 training images in the features random_conv"
    assert shown.text == {"Description": told}
    walks = Image.open(results.folder / "pictures" / "t000_interpolation.png")
    assert walks.text == {"Description": "slerp_interpolation, 6 walks of 8 samples"}
    assert walks.size == (4 * (8 * 9 + 1), 4 * (6 * 9 + 1))


def test_a_training_image_is_nearest_to_itself(results: sweeper.Results) -> None:
    judge = judge_of(results)
    some = torch.tensor([3, 700, 1796])
    assert torch.equal(judge.nearest(normalise(judge.store[some]), 1)[:, 0], some)


def test_the_nearest_are_those_of_a_search_through_all(results: sweeper.Results) -> None:
    judge = judge_of(results)
    samples, _ = made(results.best.trained, 4, 0)
    every = judge.features(normalise(judge.store[torch.arange(len(judge.store))])).numpy()
    apart = np.linalg.norm(judge.features(samples).numpy()[:, None] - every[None], axis=-1)
    found = judge.nearest(samples, 5).numpy()
    distances = np.take_along_axis(apart, found, axis=1)
    assert np.allclose(distances, np.sort(apart, axis=1)[:, :5], rtol=1e-4)
    assert (np.diff(distances, axis=1) >= -1e-6).all()


def test_pictures_are_the_same_again_and_drawn_once(results: sweeper.Results, copy: Path) -> None:
    assert undrawn(copy)
    assert said(copy) == []
    assert drawn(copy) == drawn(results.folder)
    assert not undrawn(copy)
    for path in (copy / "pictures").iterdir():
        path.write_bytes(b"mine")
    assert said(copy) == []
    assert set(drawn(copy).values()) == {b"mine"}


def test_what_cannot_be_drawn_is_told_and_ends_nothing(copy: Path) -> None:
    for path in copy.glob("trials/*/checkpoints/*.pt"):
        path.unlink()
    (told,) = said(copy)
    assert told.startswith("no pictures of the best: ")
    assert "has no checkpoint" in told


def test_ctrl_c_leaves_them_out(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*about: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "drawn", interrupted)
    assert said(copy) == ["pictures of the best are left out; sweeper report draws them"]


def test_a_report_draws_only_what_is_cheap(
    results: sweeper.Results, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / "elsewhere"
    shutil.copytree(copy, far)
    assert said(far, cheaply=True) == []
    assert drawn(far) == {}
    monkeypatch.setattr(Evaluator, "has_seen", False)
    assert said(copy, cheaply=True) == []
    assert {name.split("_")[1] for name in drawn(copy)} == {"interpolation.png"}


def test_of_points_there_are_no_pictures(tmp_path: Path) -> None:
    points = SimpleNamespace(meta=SimpleNamespace(shape=(2,)))
    found = SimpleNamespace(record=SimpleNamespace(name="t000"), store=lambda: points)
    pictures.drawn(tmp_path, cast(Trained, found), silent, cheaply=False)
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize(
    ("prior", "walk"),
    [
        ("gaussian_latent", "slerp_interpolation"),
        ("spherical_latent", "slerp_interpolation"),
        ("uniform_latent", "lerp_interpolation"),
    ],
)
def test_a_walk_stays_where_the_latents_lie(prior: str, walk: str) -> None:
    assert walk_for(Slot(of.priors).read(prior)).name == walk


def test_interpolate_walks_that_way(results: sweeper.Results, tmp_path: Path) -> None:
    def strip(walk: str) -> np.ndarray:
        path = tmp_path / f"{walk}.png"
        (told,) = generate(results.folder, 8, path, None, 0, walk, 8)
        assert "1 walks (slerp_interpolation) of 8 samples" in told
        return np.array(Image.open(path))

    assert np.array_equal(strip("auto"), strip("slerp"))
