"""Minibatch discrimination."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import tricks
from sweeper.catalog.normalizations.moments import full
from sweeper.catalog.tricks.minibatch import MIXED, beside
from sweeper.game import Coupled, Summary, Trick
from sweeper.registry import Law, Options


@tricks.register(
    paper="salimans2016",
    provides={"minibatch", "minibatch_discrimination", "batch_coupled"},
    warns={MIXED, Law("spectral", "its own weights are not normalised, and D is not Lipschitz")},
    facts={"stage": 65},
)
class MinibatchDiscrimination(Trick):
    """D is told how close each example comes to the others of its batch, in learnt directions.

    M_i = T f(x_i) with a learnt T of size A x B x C, f(x) being D's last hidden activations,
    flattened to A numbers; o(x_i)_b = Σ_j exp(-‖M_ib - M_jb‖₁), a sum of the batch. The B sums
    stand beside the activations before the head; beside maps (N, A/HW, H, W) each is a constant
    map. ``kernels`` is B, ``dims`` is C. In the paper j = i counts (``include_self``); in its
    authors' code it does not. T starts like any linear layer and is never constrained.
    """

    def __init__(
        self,
        *,
        kernels: Annotated[int, Ge(1), Options((16, 32, 50, 100))] = 100,
        dims: Annotated[int, Ge(1), Options((3, 5, 8))] = 5,
        include_self: Annotated[bool, Options((True, False))] = True,
    ) -> None:
        super().__init__()
        self.kernels, self.dims, self.include_self = kernels, dims, include_self

    def summary(self, shape: tuple[int, ...]) -> Summary:
        return Closeness(shape, self.kernels, self.dims, self.include_self)


class Closeness(Coupled, Summary):
    """Activations, and how close each example's are to those of the batch."""

    def __init__(self, shape: tuple[int, ...], kernels: int, dims: int, include_self: bool) -> None:
        super().__init__(shape[0] + kernels)
        self.kernels, self.include_self = kernels, include_self
        self.project = nn.Linear(math.prod(shape), kernels * dims, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        m = full(self.project(h.flatten(1))).reshape(len(h), self.kernels, -1)
        close = torch.exp(-(m[:, None] - self.company.gathered(m)).abs().sum(-1))
        return beside(h, close.sum(1) if self.include_self else close.sum(1) - 1)
