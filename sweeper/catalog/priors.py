"""Priors: where latents are drawn from."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import priors
from sweeper.game import Prior
from sweeper.registry import Options

Size = Annotated[int, Ge(1), Options((32, 64, 100, 128, 256))]


@priors.register(paper="goodfellow2014")
class GaussianLatent(Prior):
    """Latents from the standard normal distribution."""

    def __init__(self, *, size: Size = 64) -> None:
        self.size = size

    def __call__(self, n: int, random: torch.Generator) -> Tensor:
        return torch.randn(n, self.size, generator=random, device=random.device)


@priors.register(paper="radford2016")
class UniformLatent(Prior):
    """Latents from the uniform distribution on a cube, from ``low`` to 1 in each dimension."""

    def __init__(
        self, *, size: Size = 64, low: Annotated[Literal[-1, 0], Options((-1, 0))] = -1
    ) -> None:
        self.size, self.low = size, low

    def __call__(self, n: int, random: torch.Generator) -> Tensor:
        unit = torch.rand(n, self.size, generator=random, device=random.device)
        return self.low + (1 - self.low) * unit
