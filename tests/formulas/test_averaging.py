"""Averages and looks ahead: when they act, and with what they do not go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweeper.catalog.families import schedules, tricks
from sweeper.config import Misfit, Trial
from sweeper.trial.step import play_round
from tests.formulas.games import Linear, Point, draw, game, progress


@pytest.mark.parametrize(
    ("knobs", "moves"),
    [
        ({}, (2, 2)),
        ({"d_steps": 3}, (6, 2)),
        ({"first": "generator"}, (2, 2)),
        ({"first": "generator", "d_steps": 1, "g_steps": 2}, (2, 4)),
    ],
)
def test_lookahead_waits_until_both_players_have_moved(
    knobs: dict[str, Any], moves: tuple[int, int]
) -> None:
    places = []
    for used in ({}, {"lookahead": tricks["lookahead"].make(k=2, alpha=0.5)}):
        d, g, at = Linear([0.5]), Point([1.0]), progress()
        gan = game(d, g, tricks=used, schedule=schedules["alternating_update"].make(**knobs))
        gan.tricks.setup(gan.networks, draw(1))
        for _ in range(2):
            play_round(gan, draw, at, {})
        assert tuple(at.moves.values()) == moves
        places.append((d.weight.item(), g.place.item()))
    (w, theta), (slow_w, slow_theta) = places
    assert slow_w == pytest.approx((0.5 + w) / 2)
    assert slow_theta == pytest.approx((1.0 + theta) / 2)


@pytest.mark.parametrize(
    ("changes", "law"),
    [
        ({"tricks": ["ema", "moving_average"]}, "one generator to be shown"),
        ({"tricks": ["extragradient", "unrolled_gan"]}, "gradients in one place"),
        ({"tricks": ["extragradient"], "schedule": "one_step_joint_loss"}, "extragradient"),
    ],
)
def test_what_does_not_go_together(
    tiny: Callable[..., dict[str, Any]], changes: dict[str, Any], law: str
) -> None:
    with pytest.raises(Misfit, match=law):
        Trial.read(tiny(**changes))


def test_extragradient_goes_with_averages_and_lookahead(
    tiny: Callable[..., dict[str, Any]],
) -> None:
    used = ["extragradient", "lookahead", "ema", "gradient_clip_norm", "gradient_clip_value"]
    assert len(Trial.read(tiny(tricks=used)).tricks) == 5
