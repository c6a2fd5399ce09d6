"""Players small enough to be worked out by hand, under the product's own step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from sweeper.catalog.families import losses, optimizers, priors, schedules
from sweeper.game import (
    Batch,
    Context,
    Output,
    Pair,
    Player,
    Progress,
    Regularizer,
    Scores,
    Streams,
    Trick,
    Tricks,
    Turn,
)
from sweeper.trial.gan import Gan, Term


class Linear(nn.Module):
    """A discriminator that scores w·x + b."""

    def __init__(self, weight: Sequence[float], bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float64))

    def forward(self, batch: Batch) -> Output:
        return Output(batch.image.flatten(1) @ self.weight + self.bias)


class Squares(nn.Module):
    """A discriminator that scores ½‖x‖²: its slope at a place is the place."""

    def forward(self, batch: Batch) -> Output:
        return Output(batch.image.flatten(1).square().sum(1) / 2)


class Point(nn.Module):
    """A generator that puts every fake in one place."""

    def __init__(self, place: Sequence[float]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place, dtype=torch.float64))

    def forward(self, z: Tensor, context: Context | None = None) -> Tensor:
        return self.place.repeat(len(z), 1)


class Layered(nn.Module):
    """A discriminator of any layers, the last of which has one output."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, batch: Batch) -> Output:
        return Output(self.layers(batch.image).flatten())


def examples(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same ones every time."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def turn_of(
    d: nn.Module,
    real: Tensor,
    fake: Tensor,
    *,
    g: nn.Module | None = None,
    player: Player = Player.D,
    score: Callable[[Batch], Output] | None = None,
) -> Turn:
    """A player's turn on given examples."""
    score = score or d
    shown = Batch(real), Batch(fake)
    progress = Progress(Streams(0), horizon=1000)
    pair = Pair(d, g or nn.Identity())
    latents = torch.zeros(len(fake), 1)
    return Turn(player, *shown, latents, Scores(score, *shown), score, pair, progress)


def game(
    d: nn.Module,
    g: nn.Module,
    *,
    lr: float,
    loss: str = "wasserstein",
    schedule: str = "alternating_update",
    terms: Sequence[Term] = (),
    tricks: Mapping[str, Trick] | None = None,
    constraint: Callable[[nn.Module], None] | None = None,
) -> Gan:
    """Two players under plain gradient descent. Terms that are regularizers of the kind that
    remembers are tricks, too."""
    pairs = {"main": Pair(d, g)}
    remember = {t.name: t.formula for t in terms if isinstance(t.formula, Regularizer)}
    everything = Tricks({**remember, **(tricks or {})})
    everything.setup(pairs, origin(1))
    sgd = optimizers["sgd"]
    return Gan(
        networks=pairs,
        optimizers={p: sgd.make(pairs["main"].of(p).named_parameters(), lr=lr) for p in Player},
        loss=losses[loss].make(),
        terms=tuple(terms),
        tricks=everything,
        schedule=schedules[schedule].make(),
        prior=priors["gaussian_latent"].make(size=1),
        constraints={Player.D: constraint} if constraint else {},
        shape=(1,),
        batch_size=4,
    )


def origin(n: int) -> Batch:
    """Real examples, all of them at the origin of a line."""
    return Batch(torch.zeros(n, 1, dtype=torch.float64))


def gap(measured: Tensor, expected: Tensor) -> float:
    """The largest difference between two tensors."""
    return float((measured - expected).detach().abs().max())
