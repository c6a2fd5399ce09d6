"""The smallest game: real data in one point, fakes in another, and one number on either side.

It is a trial like any other, under the very step that trains any other GAN; only its architecture
and its data would be of no use elsewhere, and are therefore not in the catalog.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.config import Pick, Trial
from sweeper.game import Architecture, Batch, Context, Layers, Output, Player, Progress, Streams
from sweeper.registry import Registry
from sweeper.trial.assemble import assemble
from sweeper.trial.round import Round
from sweeper.trial.step import play_round

architectures: Registry[Architecture] = Registry("architectures")
datasets: Registry[Any] = Registry("datasets")

FOREVER = 10**12
"""A horizon in images that no game comes near."""


class Slope(nn.Module):
    """D(x) = ψx."""

    def __init__(self, psi: float) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor([psi], dtype=torch.float64))

    def forward(self, batch: Batch) -> Output:
        return Output(batch.image @ self.psi)


class Place(nn.Module):
    """G(z) = θ."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta], dtype=torch.float64))

    def forward(self, z: Tensor, context: Context) -> Tensor:
        return self.theta.repeat(len(z), 1)


@architectures.register()
class Dirac(Architecture):
    """A linear D without a bias, and a G whose one weight is the place of its fakes."""

    def __init__(self, *, theta: float = 1.0, psi: float = -1.0) -> None:
        self.theta, self.psi = theta, psi

    def generator(self, shape: object, latent_size: int, layers: Layers) -> nn.Module:
        return Place(self.theta)

    def discriminator(self, shape: object, layers: Layers) -> nn.Module:
        return Slope(self.psi)


@datasets.register()
class Origin:
    """Nothing but zeros."""

    def examples(self) -> Iterator[tuple[list[float], None]]:
        while True:
            yield [0.0], None


def small(start: Mapping[str, float] | None = None, lr: float = 0.2, **changes: Any) -> Trial:
    """The trial of the smallest game, with plain gradient steps where nothing else is asked for."""
    sgd = {"normalization": "none", "optimizer": {"sgd": {"lr": lr}}}
    read = Trial.read(
        {
            "data": "digits",
            "architecture": "mlp_gan",
            "prior": {"gaussian_latent": {"size": 1}},
            "loss": "minimax",
            "schedule": "alternating_update",
            "batch": {"size": 1},
            "horizon_kimg": FOREVER / 1000,
            **changes,
            "generator": sgd | changes.get("generator", {}),
            "discriminator": sgd | changes.get("discriminator", {}),
        }
    )
    dirac, origin = architectures["dirac"], datasets["origin"]
    own = {
        "architecture": Pick(dirac, dirac.knobs.model_validate(start or {})),
        "data": Pick(origin, origin.knobs()),
    }
    return read.model_copy(update=own)


class Game:
    """A trial of the smallest game under way."""

    def __init__(self, trial: Trial) -> None:
        self.progress = Progress(Streams(trial.seed), round(trial.horizon_kimg * 1000))
        self.gan = assemble(trial, self.draw(trial.batch.size), self.progress)
        self.seen: dict[str, Tensor] = {}

    def draw(self, n: int) -> Batch:
        """Real examples."""
        return Batch(torch.zeros(n, 1, dtype=torch.float64))

    def play(self, rounds: int = 1) -> Game:
        """Play on."""
        for _ in range(rounds):
            self.seen = play_round(self.gan, self.draw, self.progress, self.seen)
        return self

    def round(self) -> Round:
        """A round that is about to be played."""
        moves = self.gan.moves(self.progress, self.seen)
        return Round(self.gan, self.draw, self.progress, moves)

    @property
    def theta(self) -> float:
        return self.gan.parameters(Player.G)[0].item()

    @property
    def psi(self) -> float:
        return self.gan.parameters(Player.D)[0].item()

    @property
    def radius(self) -> float:
        """How far the players are from their equilibrium at (0, 0)."""
        return math.hypot(self.theta, self.psi)
