"""Priors: where latents are drawn from."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn.functional import normalize

from sweeper.catalog.families import priors
from sweeper.game import Prior
from sweeper.registry import Options

Size = Annotated[int, Ge(1), Options((32, 64, 100, 128, 256))]


@priors.register(paper="goodfellow2014", provides={"shell"})
class GaussianLatent(Prior):
    """Latents from the standard normal distribution.

    With a ``truncation`` τ, the generator is judged and shown by latents of which every number is
    drawn from the normal distribution between -τ and τ (Brock et al. 2019): it trades variety for
    quality, and training does not know of it.
    """

    def __init__(
        self, *, size: Size = 64, truncation: Annotated[float | None, Gt(0)] = None
    ) -> None:
        self.size, self.truncation = size, truncation

    def __call__(self, n: int, random: torch.Generator) -> Tensor:
        return torch.randn(n, self.size, generator=random, device=random.device)

    def shown(self, n: int, random: torch.Generator) -> Tensor:
        if self.truncation is None:
            return self(n, random)
        unit = torch.rand(n, self.size, generator=random, device=random.device, dtype=torch.float64)
        inside = math.erf(self.truncation / math.sqrt(2))
        z = math.sqrt(2) * torch.erfinv(inside * (2 * unit - 1))
        return z.clamp(-self.truncation, self.truncation).float()


@priors.register(paper="white2016", provides={"shell"})
class SphericalLatent(Prior):
    """Latents from the uniform distribution on a sphere.

    z = r g/‖g‖, g from the standard normal distribution. The ``radius`` r is √d, near which all
    latents of a standard normal distribution in d dimensions lie, or 1.
    """

    def __init__(
        self,
        *,
        size: Size = 64,
        radius: Annotated[Literal["sqrt_d", 1], Options(("sqrt_d", 1))] = "sqrt_d",
    ) -> None:
        self.size = size
        self.radius = math.sqrt(size) if radius == "sqrt_d" else 1.0

    def __call__(self, n: int, random: torch.Generator) -> Tensor:
        g = torch.randn(n, self.size, generator=random, device=random.device)
        return self.radius * normalize(g)


@priors.register(paper="radford2016", provides={"cube"})
class UniformLatent(Prior):
    """Latents from the uniform distribution on a cube, from ``low`` to 1 in each dimension."""

    def __init__(
        self, *, size: Size = 64, low: Annotated[Literal[-1, 0], Options((-1, 0))] = -1
    ) -> None:
        self.size, self.low = size, low

    def __call__(self, n: int, random: torch.Generator) -> Tensor:
        unit = torch.rand(n, self.size, generator=random, device=random.device)
        return self.low + (1 - self.low) * unit
