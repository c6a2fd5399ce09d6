"""Penalties, at critics whose slopes are known, and the memories that some of them keep."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.catalog.families import regularizers, tricks
from sweeper.catalog.regularizers.dragan import perturbed
from sweeper.catalog.regularizers.slopes import between
from sweeper.catalog.regularizers.spectral_norm_regularization import matrices
from sweeper.catalog.regularizers.views import flipped_and_shifted
from sweeper.game import Batch, Output, Pair, Player, Progress, Regularizer, Streams, Turn
from sweeper.trial.gan import Term
from sweeper.trial.step import play_round
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import (
    Layered,
    Linear,
    Point,
    Squares,
    examples,
    game,
    gap,
    origin,
    turn_of,
)

SLOPE = (3.0, 4.0)
"""A critic's slope, whose norm is 5."""


def taken(name: str, turn: Turn, **knobs: Any) -> Tensor:
    value: Tensor = regularizers[name].make(**knobs)(turn)
    return value


def measured(name: str, turn: Turn, **knobs: Any) -> float:
    return taken(name, turn, **knobs).item()


def of_linear(slope: Sequence[float] = SLOPE, seed: int = 0) -> Turn:
    n = len(slope)
    return turn_of(Linear(slope, 7.0), examples(8, n, seed=seed), examples(8, n, seed=seed + 1))


def to_g(name: str) -> float:
    """The slope of a penalty along G's weights, where its fakes lead back to them."""
    d, g = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double(), Point([0.5, -0.5])
    turn = turn_of(Layered(d), examples(4, 2), g(torch.zeros(4, 1)), g=g)
    (slope,) = torch.autograd.grad(taken(name, turn), g.place, materialize_grads=True)
    return gap(slope, torch.zeros(2))


def to_d(value: Tensor, turn: Turn) -> Tensor:
    """Its slope along D's weights."""
    (slope,) = torch.autograd.grad(value, turn.networks.discriminator.get_parameter("weight"))
    return slope


def lazily(name: str, every: int, **knobs: Any) -> float:
    """What is paid a move, in the mean of 16 moves of a critic held still."""
    term = Term(name, regularizers[name].make(**knobs), "discriminator", every)
    turn, paid = of_linear(), 0.0
    for k in range(16):
        turn.progress.moves[Player.D] = k
        paid += term(turn).item() if term.due(turn) else 0.0
    return paid / 16


def packed(turn: Turn) -> Turn:
    """The same turn before a critic that scores examples by pairs."""
    packs = tricks["packing"].make(m=2)
    plain = turn.score

    def score(batch: Batch) -> Output:
        return plain(packs.images(batch, turn.progress))

    scores = replace(turn.scores, score=score)
    return replace(turn, score=score, scores=scores)


@check("gradient_penalty")
def a_slope_of_one() -> Iterator[Claim]:
    name = "gradient_penalty"
    turn = of_linear()
    yield Claim("a slope of norm 5, held at 1", measured(name, turn), 10 * (5 - 1) ** 2)
    value = measured(name, turn, weight=2.0, target=3.0)
    yield Claim("weight 2, held at 3", value, 2 * (5 - 3) ** 2)
    yield Claim("the same for other data", measured(name, of_linear(seed=5)), 160)
    yield Claim("a slope of norm 1", measured(name, of_linear((0.6, 0.8))), 0)
    low = of_linear((0.3, 0.4))
    yield Claim("a slope of norm ½", measured(name, low), 10 * 0.5**2)
    yield Claim("a slope of norm ½, one-sided", measured(name, low, one_sided=True), 0)
    slope = to_d(taken(name, turn), turn)
    unit = torch.tensor(SLOPE, dtype=torch.float64) / 5
    yield Claim("the gradient 2λ(‖w‖ - 1)w/‖w‖", gap(slope, 2 * 10 * 4 * unit), 0)
    yield Claim("what G is given of it", to_g(name), 0)


@check("gradient_penalty", "zero_centered_gp")
def lines_between_examples() -> Iterator[Claim]:
    real, fake = torch.full((2000, 3), 5.0), torch.full((2000, 3), 1.0)
    turn = turn_of(Squares(), real.double(), fake.double())
    share = (between(turn, "test").image - 1) / 4
    yield Claim("coordinates of a place off its line", gap(share, share[:, :1]), 0)
    yield Claim("mean of ε", share[:, 0].mean().item(), 0.5, 0.02)
    yield Claim("variance of ε", share[:, 0].var().item(), 1 / 12, 0.005)
    share = (between(packed(turn), "test").image - 1) / 4
    yield Claim("ε within a pack", gap(share[0::2], share[1::2]), 0)
    yield Claim("packs of one ε", float(len(set(share[:, 0].tolist()))), 1000)


@check("gradient_penalty", "r1_penalty", "r2_penalty", "zero_centered_gp")
def slopes_of_packs() -> Iterator[Claim]:
    # A pack's critic has the slope of each of its two examples, so its square is doubled.
    pair = packed(turn_of(Linear((*SLOPE, *SLOPE)), examples(8, 2), examples(8, 2, seed=1)))
    norm = 5 * math.sqrt(2)
    yield Claim("GP of a pair", measured("gradient_penalty", pair), 10 * (norm - 1) ** 2)
    yield Claim("R1 of a pair", measured("r1_penalty", pair), 10 / 2 * 50)
    yield Claim("R2 of a pair", measured("r2_penalty", pair), 10 / 2 * 50)
    yield Claim("0-GP of a pair", measured("zero_centered_gp", pair), 10 * 50)


@check("gradient_penalty", "r1_penalty", "r2_penalty", "zero_centered_gp", "dragan")
def now_and_then() -> Iterator[Claim]:
    for name in ("gradient_penalty", "r1_penalty", "r2_penalty", "zero_centered_gp", "dragan"):
        yield Claim(f"{name} in one move of 16", lazily(name, 16), lazily(name, 1))


@check("r1_penalty")
def slopes_at_real_examples() -> Iterator[Claim]:
    yield Claim("γ/2 ‖w‖²", measured("r1_penalty", of_linear(), gamma=3.0), 3 / 2 * 25)
    real, fake = torch.full((4, 2), 3.0).double(), torch.full((4, 2), 1.0).double()
    turn = turn_of(Squares(), real, fake)
    yield Claim("slopes at (3, 3)", measured("r1_penalty", turn, gamma=1.0), 1 / 2 * 18)
    yield Claim("what G is given of it", to_g("r1_penalty"), 0)


@check("r2_penalty")
def slopes_at_fakes() -> Iterator[Claim]:
    yield Claim("γ/2 ‖w‖²", measured("r2_penalty", of_linear(), gamma=3.0), 3 / 2 * 25)
    real, fake = torch.full((4, 2), 3.0).double(), torch.full((4, 2), 1.0).double()
    turn = turn_of(Squares(), real, fake)
    yield Claim("slopes at (1, 1)", measured("r2_penalty", turn, gamma=1.0), 1 / 2 * 2)
    yield Claim("what G is given of it", to_g("r2_penalty"), 0)


@check("zero_centered_gp")
def slopes_of_zero() -> Iterator[Claim]:
    name, turn = "zero_centered_gp", of_linear()
    yield Claim("λ ‖w‖²", measured(name, turn, weight=3.0), 3 * 25)
    zeros = torch.zeros(4, 2, dtype=torch.float64)
    at_zero = turn_of(Linear(SLOPE), zeros, zeros)
    value = measured(name, at_zero, weight=3.0, of="probability")
    yield Claim("λ (‖w‖/4)² of an undecided probability", value, 3 * (5 / 4) ** 2)
    sure = turn_of(Linear(SLOPE, 40.0), zeros, zeros)
    yield Claim("of a certain probability", measured(name, sure, of="probability"), 0)
    same = measured("gradient_penalty", turn, weight=3.0, target=0.0)
    yield Claim("GP with a target of 0", measured(name, turn, weight=3.0), same)
    yield Claim("what G is given of it", to_g(name), 0)


@check("dragan")
def slopes_near_real_examples() -> Iterator[Claim]:
    name = "dragan"
    yield Claim("a slope of norm 5, held at 1", measured(name, of_linear()), 10 * (5 - 1) ** 2)
    value = measured(name, of_linear(), weight=2.0, target=0.5)
    yield Claim("weight 2, held at ½", value, 2 * 4.5**2)
    real = examples(64, 4)
    two = [turn_of(Squares(), real, examples(64, 4, seed=seed)) for seed in (1, 2)]
    yield Claim("with other fakes", measured(name, two[0]), measured(name, two[1]))
    yield Claim("what G is given of it", to_g(name), 0)


@check("dragan")
def noise_around_real_examples() -> Iterator[Claim]:
    real = 3 * examples(4000, 200)
    unit = 0.5 * float(real.std(correction=0))
    turn = turn_of(Squares(), real, real)
    away = (perturbed(turn, 0.5, "uniform").image - real) / unit
    yield Claim("none goes down: the least of x̂ - x", away.min().item(), 0, 1e-4)
    yield Claim("none goes further than c·std", max(1.0, away.max().item()), 1)
    yield Claim("mean of x̂ - x, in c·std", away.mean().item(), 1 / 4, 0.02)
    shape = away.var(dim=1) / away.mean(dim=1).square()
    yield Claim("x_p - x is uniform: variance over mean²", shape.mean().item(), 1 / 3, 0.01)
    alpha = 2 * away.mean(dim=1)
    yield Claim("mean of α", alpha.mean().item(), 1 / 2, 0.05)
    yield Claim("variance of α", alpha.var().item(), 1 / 12, 0.01)
    normal = (perturbed(turn, 0.5, "gaussian").image - real) / unit
    yield Claim("mean of Gaussian noise", normal.mean().item(), 0, 0.01)
    yield Claim("its variance, E(α²)", normal.var().item(), 1 / 3, 0.03)


def remembering(name: str, **knobs: Any) -> Regularizer:
    made = regularizers[name].make(**knobs)
    assert isinstance(made, Regularizer)
    return made


def followed(d: nn.Module, steps: int, *, g: nn.Module | None = None, **knobs: Any) -> Tensor:
    """Spectral norm regularization after some steps of its power method."""
    g = g or nn.Identity()
    player = Player.G if knobs.get("on") == "generator" else Player.D
    term = remembering("spectral_norm_regularization", **knobs)
    term.setup({"main": Pair(d, g)}, origin(1))
    turn = turn_of(d, examples(2, 1), examples(2, 1, seed=1), g=g, player=player)
    for _ in range(steps):
        value: Tensor = term(turn)
    return value


@check("spectral_norm_regularization")
def large_singular_values() -> Iterator[Claim]:
    linear = nn.Linear(2, 2).double()
    with torch.no_grad():
        linear.weight.copy_(torch.diag(torch.tensor([3.0, 1.0])))
    yield Claim("(λ/2) 3² of diag(3, 1)", followed(linear, 30, weight=0.4).item(), 0.4 / 2 * 9)
    other = followed(nn.Identity(), 30, g=linear, weight=0.4, on="generator").item()
    yield Claim("the same of a generator", other, 0.4 / 2 * 9)
    torch.manual_seed(0)
    layers = {
        "linear": nn.Linear(6, 5),
        "convolution": nn.Conv2d(3, 4, 3),
        "transposed convolution": nn.ConvTranspose2d(3, 4, 3),
    }
    total = 0.0
    for kind, layer in layers.items():
        layer.double()
        weight = layer.get_parameter("weight")
        (slope,) = torch.autograd.grad(followed(layer, 400, weight=2.0), weight)
        u, s, vh = torch.linalg.svd(matrices(layer)[0].detach())
        exact = 2 * s[0] * torch.outer(u[:, 0], vh[0])
        rows = slope.transpose(0, 1) if kind.startswith("transposed") else slope
        yield Claim(f"{kind}: gradient off λ S₀ u₀v₀ᵀ", gap(rows.flatten(1), exact), 0)
        total += float(s[0]) ** 2
    value = followed(nn.Sequential(*layers.values()), 400, weight=2.0).item()
    yield Claim("of three layers, the sum of their squares", value, total)


@check("historical_averaging")
def the_mean_of_all_weights() -> Iterator[Claim]:
    term = remembering("historical_averaging", weight=0.3)
    d, g = Linear([1.0, 2.0]), Point([5.0])
    turn = turn_of(d, examples(2, 2), examples(2, 2, seed=1), g=g)
    networks, progress = {"main": Pair(d, g)}, turn.progress
    term.setup(networks, origin(1))
    yield Claim("before the first step", term(turn).item(), 0)
    ever = [d.weight.detach().clone()]
    for t in range(1, 8):
        with torch.no_grad():
            d.weight.copy_(examples(2, seed=t))
        ever.append(d.weight.detach().clone())
        progress.moves[Player.D] += 1
        term.weights(Player.D, networks, progress)
    mean = torch.stack(ever).mean(0)
    away = d.weight.detach() - mean
    yield Claim("λ‖θ - θ̄‖²", term(turn).item(), 0.3 * away.square().sum().item())
    (slope,) = torch.autograd.grad(term(turn), d.weight)
    yield Claim("its gradient off 2λ(θ - θ̄)", gap(slope, 2 * 0.3 * away), 0)
    still = remembering("historical_averaging", weight=0.3)
    still.setup(networks, origin(1))
    for t in range(1, 8):
        progress.moves[Player.D] = t
        still.weights(Player.D, networks, progress)
    yield Claim("after seven steps that led nowhere", still(turn).item(), 0)


@check("historical_averaging")
def a_game_that_goes_round() -> Iterator[Claim]:
    at, rate = settled(0.0, 50)
    yield Claim("λ = 0: the distance from rest", at, math.sqrt(2) * (1 + rate**2) ** 25)
    at, _ = settled(0.2, 50)
    yield Claim("λ = .2: the distance from rest", at, 0, 0.1)


def settled(weight: float, rounds: int, rate: float = 0.25) -> tuple[float, float]:
    """How far from its equilibrium the bilinear game is after some simultaneous steps from (1, 1),
    and the rate of these."""
    d, g, name = Linear([1.0]), Point([1.0]), "historical_averaging"
    terms = [Term(name, regularizers[name].make(weight=weight), "both", 1)] if weight else []
    gan = game(d, g, lr=rate, schedule="simultaneous_update", terms=terms)
    progress = Progress(Streams(0), horizon=1000)
    for _ in range(rounds):
        play_round(gan, origin, progress, {})
    return math.hypot(d.weight.item(), g.place.item()), rate


class Pixel(nn.Module):
    """A critic that scores an image by one of its pixels."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column

    def forward(self, batch: Batch) -> Output:
        return Output(batch.image[:, 0, self.row, self.column])


RAMP = torch.arange(16, dtype=torch.float64)
DOWN = RAMP[:, None].expand(4000, 1, 16, 16)
ACROSS = RAMP.expand(4000, 1, 16, 16)
FLAT = torch.ones(4000, 1, 16, 16, dtype=torch.float64)


@check("consistency_regularization", "balanced_consistency")
def other_views() -> Iterator[Claim]:
    random = torch.Generator().manual_seed(0)
    across = flipped_and_shifted(ACROSS, random)[:, 0]
    yield Claim("rows of one image differ", gap(across, across[:, :1]), 0)
    middle = across[:, 0, 7]
    plain, mirrored = (across[:, 0, 4] < across[:, 0, 11]), (across[:, 0, 4] > across[:, 0, 11])
    yield Claim("images mirrored left to right", mirrored.double().mean().item(), 0.5, 0.03)
    for by in range(-2, 3):
        share = (middle[plain] == 7 + by).double().mean().item()
        yield Claim(f"those shifted by {by} of 16", share, 1 / 5, 0.03)
    edge = across[plain & (middle == 5)][0, 0, :4].tolist()
    yield Claim("reflection at the edge", edge == [2.0, 1.0, 0.0, 1.0], True)
    down = flipped_and_shifted(DOWN, random)[:, 0, :, 0]
    yield Claim("images turned upside down", (down[:, 4] > down[:, 11]).sum().item(), 0)
    steps = [(b - a).abs().max().item() for a, b in pairwise(down.unbind(1))]
    yield Claim("the largest step from row to row", max(steps), 1)


@check("consistency_regularization")
def one_score_for_all_views_of_real_images() -> Iterator[Claim]:
    name = "consistency_regularization"
    value = measured(name, turn_of(Pixel(7, 7), DOWN, FLAT))
    yield Claim("λE(shift²) of a slope of 1", value, 10 * 2, 0.05)
    value = measured(name, turn_of(Pixel(0, 0), DOWN, FLAT))
    yield Claim("the same at the edge", value, 10 * 2, 0.05)
    value = measured(name, turn_of(Pixel(7, 7), ACROSS, FLAT))
    yield Claim("λ(½E(s²) + ½E((1 - s)²)) across", value, 10 * 2.5, 0.05)
    yield Claim("of flat images", measured(name, turn_of(Pixel(0, 0), FLAT, DOWN)), 0)


@check("balanced_consistency")
def one_score_for_all_views() -> Iterator[Claim]:
    name, knobs = "balanced_consistency", {"real_weight": 3.0, "fake_weight": 5.0}
    value = measured(name, turn_of(Pixel(7, 7), DOWN, FLAT), **knobs)
    yield Claim("of real images alone, 3 E(shift²)", value, 3 * 2, 0.05)
    value = measured(name, turn_of(Pixel(7, 7), FLAT, DOWN), **knobs)
    yield Claim("of fakes alone, 5 E(shift²)", value, 5 * 2, 0.05)
    value = measured(name, turn_of(Pixel(7, 7), DOWN, DOWN), **knobs)
    yield Claim("of both", value, (3 + 5) * 2, 0.05)


@check("lecam")
def scores_drawn_together() -> Iterator[Claim]:
    def turn(real: float, fake: float, player: Player = Player.D) -> Turn:
        at = [torch.full((4, 1), x, dtype=torch.float64) for x in (real, fake)]
        return turn_of(Linear([1.0]), *at, player=player)

    term = remembering("lecam", weight=0.5, decay=0.9)
    yield Claim("before anything was seen", term(turn(3, -1)).item(), 0.5 * (9 + 1))
    term.observe(turn(3, -1))
    yield Claim("λ·2(r - f)² of steady scores", term(turn(3, -1)).item(), 0.5 * 2 * 16)
    term.observe(turn(8, 8, Player.G))
    yield Claim("after a turn of G, the same", term(turn(3, -1)).item(), 0.5 * 2 * 16)
    term.observe(turn(5, 1))
    real, fake = ((0.9 * a + b) / 1.9 for a, b in ((3, 5), (-1, 1)))
    now = turn(2, 0)
    expected = 0.5 * ((2 - fake) ** 2 + (0 - real) ** 2)
    yield Claim("after a second turn of D", term(now).item(), expected)
    slope = to_d(term(now), now)
    yield Claim("its gradient, to real scores alone", slope.item(), 0.5 * 2 * (2 - fake) * 2)
