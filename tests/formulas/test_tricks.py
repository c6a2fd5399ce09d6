"""The moving average, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sweeper.catalog.families import normalizations, tricks
from sweeper.game import Batch, Context, Pair, Player
from sweeper.trial.step import play_round
from tests.formulas.games import Linear, Point, draw, game, progress


def test_ema_by_its_closed_form() -> None:
    g, trick = Point([1.0]), tricks["ema"].make(half_life_kimg=0.032)
    networks, at = {"main": Pair(Linear([0.0]), g)}, progress()
    trick.setup(networks, Batch(torch.zeros(1, 1)))
    shown = trick.eval_generator(g, "main")
    decay, places = 0.5 ** (16 / 32), [1.0]
    for place in (2.0, -1.0, 5.0):
        with torch.no_grad():
            g.place.fill_(place)
        places.append(place)
        at.images += 16
        trick.weights(Player.D, networks, at)
        trick.weights(Player.G, networks, at)
        n = len(places) - 1
        expected = decay**n * places[0] + (1 - decay) * sum(
            decay ** (n - i) * places[i] for i in range(1, n + 1)
        )
        assert shown.place.item() == pytest.approx(expected, rel=1e-12)
        assert g.place.item() == place


def test_what_ema_forgets_is_half_gone_after_the_half_life() -> None:
    g, trick, at = Point([1.0]), tricks["ema"].make(half_life_kimg=0.5), progress()
    networks = {"main": Pair(Linear([0.0]), g)}
    trick.setup(networks, Batch(torch.zeros(1, 1)))
    with torch.no_grad():
        g.place.fill_(0.0)
    for _ in range(10):
        at.images += 50
        trick.weights(Player.G, networks, at)
    assert trick.eval_generator(g, "main").place.item() == pytest.approx(0.5)


def test_ema_copies_buffers_and_is_not_trained() -> None:
    g, trick, at = normalizations["batch_norm"].make(3), tricks["ema"].make(), progress()
    networks = {"main": Pair(nn.Identity(), g)}
    trick.setup(networks, Batch(torch.zeros(1, 1)))
    shown = trick.eval_generator(g, "main")
    assert shown is not g
    assert not any(p.requires_grad for p in shown.parameters())
    g(torch.randn(8, 3) + 5, Context())
    assert not torch.equal(shown.running_mean, g.running_mean)
    at.images += 8
    trick.weights(Player.G, networks, at)
    assert torch.equal(shown.running_mean, g.running_mean)
    assert torch.equal(shown.running_var, g.running_var)


def test_ema_does_not_change_the_game() -> None:
    ends = []
    for extra in ({}, {"ema": tricks["ema"].make()}):
        d, g, at = Linear([0.3]), Point([1.0]), progress()
        gan = game(d, g, tricks=extra)
        gan.tricks.setup(gan.networks, draw(1))
        for _ in range(5):
            play_round(gan, draw, at, {})
        ends.append((d.weight.item(), g.place.item()))
    assert ends[0] == ends[1]
