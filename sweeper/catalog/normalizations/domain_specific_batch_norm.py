"""Batch normalization apart for each of several distributions."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Moments,
    channelwise,
    follow,
    full,
    mixture,
    of_all,
    of_each,
    standardised,
)
from sweeper.catalog.normalizations.told import Table, affine, classes_of, label
from sweeper.game import Context, Coupled, Known
from sweeper.registry import Law, LogUniform, Options

By = Literal["real_fake", "label"]
"""What says which distribution an example is from."""

BY = Options(("real_fake", "label"))
FACTS = {
    "told": (Law("domain", when="by == real_fake"), Law("label", when="by == label")),
}
PROVIDES = (
    "batch_statistics",
    "batch_coupled",
    Law("told_class", when="by == label"),
)
CONFLICTS = (
    Law(
        "packs",
        "the examples of a pack are of several classes",
        when="by == label",
        on="discriminator",
    ),
)
WARNS = (Law("small_batch", "statistics of a few examples are mostly noise"),)


def domains_of(by: By, known: Known, name: str) -> int:
    """How many distributions there are."""
    return classes_of(known, name) if by == "label" else 2


class Split(Coupled):
    """Each channel of (N, C, ...) standardised over those examples of the batch and all ranks that
    are from one distribution; running statistics of each stand in for them in evaluation."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, domains: int, by: By, momentum: float, eps: float) -> None:
        super().__init__()
        self.domains, self.by, self.momentum, self.eps = domains, by, momentum, eps
        self.register_buffer("mean", torch.zeros(domains, channels))
        self.register_buffer("variance", torch.ones(domains, channels))

    def forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """What is standardised, and which distribution each example is from, (N,)."""
        h, which = full(x), self.domain(x, context)
        if self.training:
            own = of_all(self.within(h, which), self.company)
            follow(self.mean, self.variance, own, self.momentum)
            mean, variance = own.mean, own.variance
        else:
            mean, variance = self.mean, self.variance
        mean, variance = (channelwise(kept[which], h) for kept in (mean, variance))
        return standardised(h, Moments(mean, variance, h.new_ones(())), self.eps), which

    def domain(self, x: Tensor, context: Context) -> Tensor:
        """Where nobody says which, all examples are from the first."""
        if self.by == "label":
            return label(context)
        if context.domain is None:
            return torch.zeros(x.shape[0], dtype=torch.long, device=x.device)
        return context.domain

    def within(self, h: Tensor, which: Tensor) -> Moments:
        """Those of each channel over the examples of each distribution and space, (D, C)."""
        each = of_each(h)
        belongs = one_hot(which, self.domains).T.to(h)[..., None]
        count = belongs.sum(1)
        shares = belongs / count[:, None].clamp(min=1)
        mean, variance = mixture(each.mean[None], each.variance[None], shares, 1)
        return Moments(mean[:, 0], variance[:, 0], count * each.n)


@normalizations.register(
    paper="chang2019", provides=PROVIDES, conflicts=CONFLICTS, warns=WARNS, facts=FACTS
)
class DomainSpecificBatchNorm(nn.Module):
    """Batch normalization with statistics, a scale and a shift for each of several distributions.

    y = γ_d (x - μ_d) / √(σ_d² + ε) + β_d, where d is the distribution that an example is from, and
    μ_d and σ_d² of each channel are over those examples of the batch and all ranks that are from d,
    and space, (N_d, H, W); in evaluation, running statistics of d. Takes (N, C, ...). Distributions
    are real examples and fakes (``by: real_fake``), which D is told and all that G makes is one of,
    or the classes (``by: label``).
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        *,
        by: Annotated[By, BY] = "real_fake",
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        domains = domains_of(by, known, "domain_specific_batch_norm")
        super().__init__()
        self.split = Split(channels, domains, by, momentum, eps)
        self.rows = Table(domains, channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        y, which = self.split(x, context)
        return affine(y, *self.rows(which)).to(x.dtype)
