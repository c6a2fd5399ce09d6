"""The Dirac-GAN (Mescheder et al. 2018): real data in one point, fakes in another, a linear D.

Its one equilibrium is at the origin: the fake where the real data is, and D blind. Without
regularization alternating steps circle it for ever, or creep towards it; with R1 they go there.
"""

from __future__ import annotations

import math

import pytest
import torch

from sweeper.catalog.families import regularizers
from sweeper.trial.gan import Term
from sweeper.trial.step import play_round
from sweeper.verify.dirac import FLOOR, noise_of
from tests.formulas.games import Linear, Point, draw, game, progress


def distances(loss: str, rounds: int = 600, gamma: float | None = None) -> list[float]:
    """How far from equilibrium the players are, round by round."""
    d, g, at = Linear([1.0]), Point([1.0]), progress()
    penalty = regularizers["r1_penalty"]
    terms = () if gamma is None else (
        Term("r1_penalty", penalty.make(gamma=gamma), "discriminator", 1),
    )  # fmt: skip
    gan = game(d, g, lr=0.1, loss=loss, terms=terms)
    d.bias.requires_grad_(False)
    found = list[float]()
    for _ in range(rounds):
        play_round(gan, draw, at, {})
        found.append(math.hypot(d.weight.item(), g.place.item()))
    return found


def test_without_regularization_the_wasserstein_players_circle() -> None:
    far = distances("wasserstein")
    assert min(far[-200:]) > 1
    assert max(far) < 2


def test_without_regularization_the_non_saturating_players_only_creep() -> None:
    # Sublinearly, as 1/sqrt(t): doubling the time never comes near halving the distance.
    far = distances("non_saturating", rounds=1200)
    assert far[-1] > 0.2
    assert far[599] / far[299] > 0.6
    assert far[1199] / far[599] > 0.6


@pytest.mark.parametrize("loss", ["non_saturating", "wasserstein"])
def test_with_r1_they_converge(loss: str) -> None:
    far = distances(loss, gamma=1.0)
    assert far[-1] < 1e-4
    assert far[-1] < far[300] < far[100] < far[0]


def test_near_equilibrium_the_rate_is_that_of_the_linearised_game() -> None:
    # Wasserstein with R1 is linear: ψ ← (1 - ηγ)ψ - ηθ, θ ← θ + ηψ.
    eta, gamma = 0.1, 1.0
    step = torch.tensor(
        [[1 - eta * gamma, -eta], [eta * (1 - eta * gamma), 1 - eta**2]], dtype=torch.float64
    )
    slowest = float(torch.linalg.eigvals(step).abs().max())
    far = distances("wasserstein", rounds=400, gamma=gamma)
    measured = (far[-1] / far[-201]) ** (1 / 200)
    assert slowest < 1
    assert measured == pytest.approx(slowest, abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("how", FLOOR)
def test_instance_noise_ends_where_the_authors_program_does(how: str) -> None:
    claims = [claim for seed in range(20) for claim in noise_of(how, seed)]
    expected, within = FLOOR[how]
    mean = math.fsum(claim.measured for claim in claims) / len(claims)
    assert [claim for claim in claims if not claim.ok] == []
    assert mean == pytest.approx(expected, abs=within / 3)
