"""Who moves when, on whose weights, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from sweeper.catalog.families import schedules
from sweeper.game import Move, Player, Progress, Schedule
from sweeper.trial.step import play_round
from tests.formulas.games import Linear, Point, draw, game, progress

ROUNDS = list(product((1, 2, 3), (1, 2), ("discriminator", "generator"), (False, True)))
every_round = pytest.mark.parametrize(("d_steps", "g_steps", "first", "fresh"), ROUNDS)
D, G = frozenset({Player.D}), frozenset({Player.G})


@every_round
def test_moves_come_in_the_order_asked_for(
    d_steps: int, g_steps: int, first: str, fresh: bool
) -> None:
    schedule = schedules["alternating_update"].make(
        d_steps=d_steps, g_steps=g_steps, first=first, fresh_latents=fresh
    )
    ds, gs = [D] * d_steps, [G] * g_steps
    assert schedule.moves(progress(), {}) == (ds + gs if first == "discriminator" else gs + ds)


@every_round
def test_steps_images_and_passes_add_up(
    d_steps: int, g_steps: int, first: str, fresh: bool
) -> None:
    schedule = schedules["alternating_update"].make(
        d_steps=d_steps, g_steps=g_steps, first=first, fresh_latents=fresh
    )
    d, g, at, drawn = Linear([0.0]), Point([1.0]), progress(), list[int]()
    gan = game(d, g, lr=0.01, schedule=schedule)
    for _ in range(4):
        play_round(gan, lambda n: (drawn.append(n), draw(n))[1], at, {})
    assert at.moves == {Player.D: 4 * d_steps, Player.G: 4 * g_steps}
    assert at.images == 4 * d_steps * gan.batch_size
    assert drawn == [gan.batch_size] * (4 * max(d_steps, g_steps))
    # Statistics are those of a player's own moves: D's see a real and a fake batch each, G's one.
    assert int(d.calls) == 4 * 2 * d_steps
    assert int(g.calls) == 4 * g_steps
    shared = 0 if fresh else min(d_steps, g_steps)
    if not fresh and first == "discriminator":
        shared = 1  # later moves of G are made by a G that has moved since
    passes = d_steps + g_steps - shared
    assert len(g.latents) == 4 * passes
    distinct = d_steps + g_steps if fresh else max(d_steps, g_steps)
    assert len({tuple(z.flatten().tolist()) for z in g.latents}) == 4 * distinct


def test_the_second_player_sees_the_first_ones_new_weights() -> None:
    # L_D = ψθ and L_G = -ψθ, so that D steps by -ηθ and G by ηψ.
    eta, psi, theta = 0.1, 0.3, 1.0
    d, g, at = Linear([psi]), Point([theta]), progress()
    gan = game(d, g, lr=eta)
    for _ in range(20):
        play_round(gan, draw, at, {})
        psi -= eta * theta
        theta += eta * psi
        assert d.weight.item() == pytest.approx(psi, rel=1e-12)
        assert g.place.item() == pytest.approx(theta, rel=1e-12)


def test_with_g_first_d_learns_from_the_fakes_of_before() -> None:
    eta, psi, theta = 0.1, 0.3, 1.0
    d, g = Linear([psi]), Point([theta])
    first = schedules["alternating_update"].make(first="generator")
    play_round(game(d, g, lr=eta, schedule=first), draw, progress(), {})
    assert g.place.item() == pytest.approx(theta + eta * psi, rel=1e-12)
    assert d.weight.item() == pytest.approx(psi - eta * theta, rel=1e-12)


def test_in_one_move_both_gradients_are_taken_before_either_steps() -> None:
    class Simultaneous(Schedule):
        def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
            return [frozenset(Player)]

    eta = 0.1
    d, g, at = Linear([0.3]), Point([1.0]), progress()
    gan = game(d, g, lr=eta, schedule=Simultaneous())
    radius = (0.3**2 + 1) ** 0.5
    for _ in range(50):
        play_round(gan, draw, at, {})
        radius *= (1 + eta**2) ** 0.5
        assert torch.cat([d.weight, g.place]).detach().norm().item() == pytest.approx(radius)
    assert len(g.latents) == 50
