"""Spectral norm regularization."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.memory import Memory
from sweeper.game import Batch, Networks, Regularizer, Turn
from sweeper.registry import Law, LogUniform, Options

FIXED = "spectral_norm holds what this would bring down at one"
SIDES = ("discriminator", "generator", "both")


@regularizers.register(
    paper="yoshida2017",
    conflicts=(
        Law("spectral", FIXED, when="on != generator"),
        Law("generator.spectral", FIXED, when="on != discriminator"),
    ),
    warns={
        Law(
            "second_order",
            "of the steps that G looks ahead to, all but the first are taken without it",
            when="on != generator",
        )
    },
)
class SpectralNormRegularization(Regularizer):
    """The largest singular value of every layer's weight matrix is kept small.

    (weight/2) Σ_l σ(W_l)², where W_l of a linear or convolutional layer is a matrix with a row per
    output channel. σ is followed by one step of the power method each time it is taken: v = Wᵀu,
    u ← Wv, both of length one, σ = uᵀWv, whose gradient is uvᵀ. The weight 0.01 is the paper's.
    """

    def __init__(
        self,
        *,
        weight: Annotated[float, Gt(0), LogUniform(1e-4, 1.0)] = 0.01,
        on: Annotated[
            Literal["discriminator", "generator", "both"], Options(SIDES)
        ] = "discriminator",
    ) -> None:
        super().__init__()
        self.weight, self.on = weight, on

    def setup(self, networks: Networks, batch: Batch) -> None:
        self.directions = Memory(networks, self.on, lambda d: map(direction, matrices(d)))

    def forward(self, turn: Turn) -> Tensor:
        known = self.directions.of(turn.pair, turn.player)
        weights = matrices(turn.networks.of(turn.player))
        norms = [norm(w, u) for w, u in zip(weights, known, strict=True)]
        return self.weight / 2 * torch.stack(norms).square().sum()


def norm(w: Tensor, known: Tensor) -> Tensor:
    """The largest singular value of a matrix, from a step of the power method."""
    with torch.no_grad():
        v = normalize(w.T @ known, dim=0)
        u = normalize(w @ v, dim=0)
        known.copy_(u)
    return u @ w @ v


def direction(w: Tensor) -> Tensor:
    """Where the power method starts."""
    start = torch.randn(len(w), generator=torch.Generator().manual_seed(0), dtype=w.dtype)
    return normalize(start, dim=0).to(w.device)


def matrices(network: nn.Module) -> list[Tensor]:
    """The weights of its linear and convolutional layers, a row per output channel."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | _ConvNd)]
    return [
        (m.weight.transpose(0, 1) if isinstance(m, _ConvTransposeNd) else m.weight).flatten(1)
        for m in layers
    ]
