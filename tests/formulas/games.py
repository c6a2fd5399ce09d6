"""Games small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    Scores,
    Streams,
    Trick,
    Turn,
)
from sweeper.game import Tricks as All
from sweeper.trial.gan import Gan, Term


def progress(horizon: int = 1000, images: int = 0) -> Progress:
    return Progress(Streams(0), horizon, images)


def scores(real: Sequence[float], fake: Sequence[float], **more: Any) -> Scores:
    """What D says of two batches, as numbers that gradients are taken of."""
    said = {"real": real, "fake": fake}
    tensors = {
        side: torch.tensor(v, dtype=torch.float64, requires_grad=True) for side, v in said.items()
    }
    batches = {side: Batch(torch.zeros(len(v), 1)) for side, v in said.items()}

    def score(batch: Batch) -> Output:
        return Output(tensors["real" if batch is batches["real"] else "fake"])

    return Scores(score, batches["real"], batches["fake"], **more)


def turn_of(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Turn:
    """D's turn on given examples."""
    real_batch, fake_batch = Batch(real), Batch(fake)
    return Turn(
        Player.D,
        real_batch,
        fake_batch,
        torch.zeros(len(fake), 1),
        Scores(discriminator, real_batch, fake_batch),
        discriminator,
        Pair(discriminator, nn.Identity()),
        progress(),
    )


class Linear(nn.Module):
    """A discriminator that scores w·x + b."""

    def __init__(self, weight: Sequence[float], bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch: Batch) -> Output:
        self.calls += 1
        x = batch.image.flatten(1)
        return Output(x @ self.weight.to(x.dtype) + self.bias.to(x.dtype))


class Point(nn.Module):
    """A generator that puts every fake in one place."""

    def __init__(self, place: Sequence[float]) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros(()))
        self.latents = list[Tensor]()

    def forward(self, z: Tensor, context: Context) -> Tensor:
        self.calls += 1
        self.latents.append(z)
        return self.place.repeat(len(z), 1)


def draw(n: int) -> Batch:
    """Real examples, all of them at the origin."""
    return Batch(torch.zeros(n, 1, dtype=torch.float64))


def game(
    d: nn.Module,
    g: nn.Module,
    *,
    lr: float = 0.1,
    loss: str = "wasserstein",
    terms: tuple[Term, ...] = (),
    tricks: Mapping[str, Trick] | None = None,
    schedule: Any = None,
    constraint: Callable[[nn.Module], None] | None = None,
) -> Gan:
    """Two hand-made players under the product's own step."""
    sgd = optimizers["sgd"]
    return Gan(
        networks={"main": Pair(d, g)},
        optimizers={
            Player.D: sgd.make(d.named_parameters(), lr=lr),
            Player.G: sgd.make(g.named_parameters(), lr=lr),
        },
        loss=losses[loss].make(),
        terms=terms,
        tricks=All(tricks or {}),
        schedule=schedule or schedules["alternating_update"].make(),
        prior=priors["gaussian_latent"].make(size=1),
        constraints={Player.D: constraint} if constraint else {},
        shape=(1,),
        batch_size=4,
    )
