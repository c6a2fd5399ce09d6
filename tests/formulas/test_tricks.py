"""Tricks, noun by noun."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sweeper.catalog.families import losses, normalizations, tricks
from sweeper.game import Batch, Context, Pair, Player, Tricks
from sweeper.trial.step import play_round
from tests.formulas.games import Linear, Point, draw, game, progress, scores


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


def test_instance_noise_fades_out_linearly() -> None:
    trick = tricks["instance_noise"].make(sigma=0.2, until=0.5)
    deviations = [trick.deviation(progress(1000, images)) for images in (0, 250, 500, 750)]
    assert deviations == pytest.approx([0.2, 0.1, 0, 0])


@pytest.mark.parametrize(("images", "deviation"), [(0, 0.2), (250, 0.1), (500, 0.0)])
def test_instance_noise_has_the_deviation_it_says(images: int, deviation: float) -> None:
    trick, x = tricks["instance_noise"].make(sigma=0.2, until=0.5), torch.zeros(400, 100)
    noise = trick.images(Batch(x), progress(1000, images)).image
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)


def test_the_gradient_through_instance_noise_is_the_identity() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    seen = tricks["instance_noise"].make().images(Batch(x), progress()).image
    assert not torch.equal(seen, x)
    (gradient,) = torch.autograd.grad(seen.sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))


def test_d_sees_instance_noise_in_both_players_moves_and_the_metrics_do_not() -> None:
    seen = list[torch.Tensor]()

    class Watched(Linear):
        def forward(self, batch: Batch):  # type: ignore[no-untyped-def]
            seen.append(batch.image.detach())
            return super().forward(batch)

    g = Point([1.0])
    gan = game(Watched([1.0]), g, lr=0.0, tricks={"noise": tricks["instance_noise"].make()})
    play_round(gan, draw, progress(), {})
    assert len(seen) == 3  # D scores fakes and reals, G fakes
    assert all(len(set(image.flatten().tolist())) == 4 for image in seen)
    shown = gan.eval_generator()
    assert torch.equal(shown(torch.zeros(4, 1), Context()), torch.ones(4, 1).double())


def smoothing(alpha: float, spread: float) -> Tricks:
    make = tricks["one_sided_label_smoothing"].make
    return Tricks({"smoothing": make(alpha=alpha, spread=spread)})


def test_smoothed_targets_lie_in_their_range() -> None:
    t = smoothing(0.9, 0.2).targets(torch.ones(100_000), "real", progress())
    assert 0.7 <= float(t.min()) < 0.71
    assert 1.09 < float(t.max()) <= 1.1
    assert float(t.mean()) == pytest.approx(0.9, abs=1e-3)
    fixed = smoothing(0.9, 0.0).targets(torch.ones(5), "real", progress())
    torch.testing.assert_close(fixed, torch.full((5,), 0.9))


def test_targets_of_fakes_stay() -> None:
    zeros = torch.zeros(5)
    assert torch.equal(smoothing(0.9, 0.2).targets(zeros, "fake", progress()), zeros)


def test_the_slope_at_a_smoothed_target_is_sigmoid_minus_target() -> None:
    trick, at = smoothing(0.8, 0.0), progress()
    said = scores([2.0, -1.0], [0.5], targets=lambda t, side: trick.targets(t, side, at))
    loss = losses["non_saturating"].make().discriminator(said)
    real, fake = torch.autograd.grad(loss, [said.real, said.fake])
    torch.testing.assert_close(real * 2, said.real.detach().sigmoid() - 0.8)
    torch.testing.assert_close(fake, said.fake.detach().sigmoid())


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_best_d_under_smoothing(share: float) -> None:
    # At a point with density p of real and q of fake, D* = αp / (p + q).
    p, q, alpha = share, 1 - share, 0.9
    best = math.log(alpha * p / (1 - alpha * p))
    trick, at = smoothing(alpha, 0.0), progress()
    said = scores([best], [best], targets=lambda t, side: trick.targets(t, side, at))
    real = bce(said.real, said.real_targets)
    fake = bce(said.fake, said.fake_targets)
    slopes = torch.autograd.grad(p * real + q * fake, [said.real, said.fake])
    assert sum(slope.item() for slope in slopes) == pytest.approx(0, abs=1e-12)
    assert said.real.detach().sigmoid().item() == pytest.approx(alpha * p / (p + q))


def test_g_is_not_told_of_smoothed_labels() -> None:
    paid = []
    for trick in ({}, {"s": tricks["one_sided_label_smoothing"].make(alpha=0.7)}):
        gan = game(Linear([0.5], 1.0), Point([1.0]), lr=0.0, loss="non_saturating", tricks=trick)
        paid.append(play_round(gan, draw, progress(), {}))
    assert paid[0]["generator.adversarial"] == paid[1]["generator.adversarial"]
    assert paid[0]["discriminator.adversarial"] != paid[1]["discriminator.adversarial"]
