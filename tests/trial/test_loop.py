"""Training as a stream of measurements."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from sweeper.config import Misfit, Trial
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Diverged, Training, train
from tests.contracts.same import differences

Tiny = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("loss", ["least_squares", "hinge"])
def test_a_rate_that_is_far_too_high_diverges(tiny: Tiny, cache: Path, loss: str) -> None:
    side = {"normalization": "none", "optimizer": {"sgd": {"lr": 1e30}}}
    trial = Trial.read(tiny(loss=loss, generator=side, discriminator=side))
    with pytest.raises(Diverged, match="is not finite after") as raised:
        list(train(trial, cache))
    assert 0 < raised.value.images <= 48


def test_a_diverged_trial_keeps_no_broken_checkpoint(
    tiny: Tiny, cache: Path, tmp_path: Path
) -> None:
    side = {"normalization": "none", "optimizer": {"sgd": {"lr": 1e30}}}
    with pytest.raises(Diverged):
        list(train(Trial.read(tiny(generator=side, discriminator=side)), cache, tmp_path))
    assert Checkpoints(tmp_path / "checkpoints").load() is None


def test_measurements_come_where_the_protocol_wants_them(
    tiny: Tiny, cache: Path, tmp_path: Path
) -> None:
    measurements = list(train(Trial.read(tiny()), cache, tmp_path))
    assert [m.images for m in measurements] == [16, 32, 48]
    assert [m.heldout is None for m in measurements] == [True, True, False]
    for i, measured in enumerate(measurements, 1):
        best = min(measurements[:i], key=lambda m: m.score)
        assert (measured.best, measured.best_images) == (best.score, best.images)
    assert [m.seconds for m in measurements] == sorted(m.seconds for m in measurements)
    sheets = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert sheets == [f"{images:012d}.png" for images in (16, 32, 48)]


def test_a_batch_larger_than_the_interval_is_measured_once(tiny: Tiny, cache: Path) -> None:
    tree = tiny(batch={"size": 20})
    tree["evaluation"]["every_kimg"] = 0.008
    measurements = list(train(Trial.read(tree), cache))
    assert [m.images for m in measurements] == [20, 40, 60]
    assert all(m.losses for m in measurements)


@pytest.mark.parametrize("path", ["horizon_kimg", "evaluation.every_kimg"])
def test_less_than_one_image_is_refused(tiny: Tiny, path: str) -> None:
    tree = tiny()
    *above, last = path.split(".")
    (tree[above[0]] if above else tree)[last] = 0.0004
    with pytest.raises(Misfit, match=r"must be at least 0\.001"):
        Trial.read(tree)


def test_a_stopped_trial_goes_on_where_it_was(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    trial = Trial.read(tiny())
    whole = [m.plain() for m in train(trial, cache)]
    stopped = train(trial, cache, tmp_path)
    first = [next(stopped).plain(), next(stopped).plain()]
    stopped.close()
    rest = [m.plain() for m in train(trial, cache, tmp_path)]
    assert list(differences(first, whole[:2])) == []
    assert list(differences(rest, whole)) == []
    assert [m["seconds"] for m in rest[:2]] == [m["seconds"] for m in first]
    assert rest[2]["seconds"] > rest[1]["seconds"]


def test_a_finished_trial_only_says_so(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    trial = Trial.read(tiny())
    measured = list(train(trial, cache, tmp_path))
    assert list(train(trial, cache, tmp_path)) == measured


def test_a_torn_checkpoint_costs_one_interval(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    trial = Trial.read(tiny())
    whole = [m.plain() for m in train(trial, cache, tmp_path)]
    newest = Checkpoints(tmp_path / "checkpoints").paths()[0]
    newest.write_bytes(newest.read_bytes()[:100])
    again = [m.plain() for m in train(trial, cache, tmp_path)]
    assert list(differences(again, whole)) == []
    assert [m["seconds"] for m in again[:2]] == [m["seconds"] for m in whole[:2]]
    assert again[2]["seconds"] != whole[2]["seconds"], "the last was trained again"


@pytest.mark.parametrize(
    ("d_steps", "first", "fresh"),
    list(product((1, 3), ("discriminator", "generator"), (False, True))),
)
def test_any_schedule_continues_as_if_never_stopped(
    d_steps: int, first: str, fresh: bool, tiny: Tiny, cache: Path
) -> None:
    knobs = {"d_steps": d_steps, "g_steps": 2, "first": first, "fresh_latents": fresh}
    trial = Trial.read(
        tiny(
            schedule={"alternating_update": knobs},
            tricks={"ema": {}, "instance_noise": {}, "one_sided_label_smoothing": {"spread": 0.1}},
            regularizers={"r1_penalty": {"every": 2}},
            horizon_kimg=0.1,
        )
    )
    training = Training(trial, cache)
    training.advance()
    again = Training(trial, cache)
    again.load_state_dict(training.state_dict())
    whole = Training(trial, cache)
    for each in (whole, again):
        while not each.finished:
            each.advance()
    assert list(differences(again.state_dict(), whole.state_dict())) == []


def test_a_seed_is_a_trial(tiny: Tiny, cache: Path) -> None:
    scores = [[m.score for m in train(Trial.read(tiny(seed=s)), cache)] for s in (0, 0, 1)]
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]
