"""Averages of the weights, in a game whose every place is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from sweeper.catalog.families import normalizations, tricks
from sweeper.game import Batch, Context, Pair, Player, Progress, Streams, Trick
from sweeper.verify.bilinear import Bilinear
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import Point

SGD = {"lr": 0.3}
PLACES = (2.0, -1.0, 5.0, 0.5)


def shown(name: str, places: Sequence[float], images: int = 16, **knobs: Any) -> list[float]:
    """Where the generator that is shown stands, each time the trained one, from 1, has stepped."""
    g, progress = Point([1.0]), Progress(Streams(0), horizon=16 * len(places))
    trick: Trick = tricks[name].make(**knobs)
    networks = {"main": Pair(nn.Identity(), g)}
    trick.setup(networks, Batch(torch.zeros(1, 1)))
    found = []
    for place in places:
        with torch.no_grad():
            g.place.fill_(place)
        progress.images += images
        for player in Player:
            trick.weights(player, networks, progress)
        found.append(trick.eval_generator(g, "main")(torch.zeros(1, 1), Context()).item())
    return found


def copied(name: str) -> Claim:
    """Statistics are those of the trained generator."""
    norm = normalizations["batch_norm"].make(3)
    trick: Trick = tricks[name].make()
    networks, progress = {"main": Pair(nn.Identity(), norm)}, Progress(Streams(0), horizon=10)
    trick.setup(networks, Batch(torch.zeros(1, 3)))
    norm(torch.arange(24.0).view(8, 3), Context())
    progress.images += 8
    trick.weights(Player.G, networks, progress)
    pairs = zip(trick.eval_generator(norm, "main").buffers(), norm.buffers(), strict=True)
    off = max(float((a - b).abs().max()) for a, b in pairs)
    return Claim("batch-norm statistics are copied, off by", off, 0, within=0)


def apart(name: str, **knobs: Any) -> Claim:
    """How far it leads the players away from where they would be."""
    ends = [Bilinear("sgd", SGD, used).play(5) for used in ({}, {name: knobs})]
    return Claim(
        "the trained players are led astray by",
        max(abs(a - b) for a, b in zip(*ends, strict=True)),
        0,
        within=0,
    )


@check("ema")
def exponential() -> Iterator[Claim]:
    beta = 0.5 ** (16 / 32)
    n = len(PLACES)
    expected = beta**n + (1 - beta) * sum(
        beta ** (n - i) * place for i, place in enumerate(PLACES, 1)
    )
    found = shown("ema", PLACES, half_life_kimg=0.032)[-1]
    yield Claim(
        "βⁿθ₀ + (1 - β) Σ βⁿ⁻ⁱθᵢ, at 16 images a step and a half-life of 32", found, expected
    )
    found = shown("ema", [0.0] * 10, images=50, half_life_kimg=0.5)[-1]
    yield Claim("what lies a half-life back counts", found, 0.5)
    found = shown("ema", PLACES, half_life_kimg=1e-6)[-1]
    yield Claim("with hardly a half-life, the present weights", found, PLACES[-1])
    # The half-life is half the images seen: 8, then 16, at 16 images a step.
    first = 0.25 * 1.0 + 0.75 * 2.0
    expected = 0.5 * first + 0.5 * -1.0
    found = shown("ema", PLACES[:2], half_life_kimg=100.0, warmup=0.5)[-1]
    yield Claim("warming up, after two steps", found, expected)
    yield copied("ema")
    yield apart("ema")


@check("moving_average")
def uniform() -> Iterator[Claim]:
    for k, found in enumerate(shown("moving_average", range(6), start=0.0), 1):
        mean = sum(range(k)) / k
        yield Claim(f"the mean of {', '.join(map(str, range(k)))}", found, mean)
    late = shown("moving_average", PLACES, start=0.5)
    yield Claim("before the start, the present weights", late[0], PLACES[0])
    yield Claim("at the start, the present weights", late[1], PLACES[1])
    yield Claim("at the end, the mean from the start on", late[-1], sum(PLACES[1:]) / 3)
    yield copied("moving_average")
    yield apart("moving_average", start=0.0)


@check("lookahead")
def slow_weights() -> Iterator[Claim]:
    start, alpha = (1.0, 2.0), 0.3
    for schedule in ("simultaneous_update", "alternating_update"):
        fast = Bilinear("sgd", SGD, schedule=schedule, start=start).play(3)
        duel = Bilinear(
            "sgd", SGD, {"lookahead": {"k": 3, "alpha": alpha}}, schedule=schedule, start=start
        )
        before = duel.play(2), Bilinear("sgd", SGD, schedule=schedule, start=start).play(2)
        yield Claim(f"{schedule}: θ two rounds in, of 3", before[0][1], before[1][1])
        after = duel.play()
        for i, what in enumerate(("w", "θ")):
            expected = start[i] + alpha * (fast[i] - start[i])
            yield Claim(f"{schedule}: {what} = slow + α (fast - slow)", after[i], expected)
        again = Bilinear("sgd", SGD, schedule=schedule, start=after).play(3)
        expected = after[1] + alpha * (again[1] - after[1])
        yield Claim(f"{schedule}: θ, three rounds on", duel.play(3)[1], expected)
