"""Virtual batch normalization."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import (
    Affine,
    Moments,
    batch_and_space,
    channelwise,
    full,
    mixture,
    moments,
    of_batch,
    of_each,
    standardised,
)
from sweeper.game import Context, Coupled
from sweeper.registry import Law, Options

WHOLE = "over == whole_batch"
"""When the examples of a batch bear on each other."""


@normalizations.register(
    paper="salimans2016",
    provides={Law("batch_statistics", when=WHOLE), Law("batch_coupled", when=WHOLE)},
    conflicts={
        Law(
            "minibatch",
            "the reference stands in the batch, and would be compared with it",
            on="discriminator",
        ),
        Law("packs", "the reference is of single examples", on="discriminator"),
    },
    facts={"refers": True},
)
class VirtualBatchNorm(Affine, Coupled):
    """Each example is standardised together with a reference batch that never changes.

    y = γ (x - μ) / √(σ² + ε) + β, with μ and σ² of each channel over space, (H, W), of the
    reference R and the example x, (R ∪ {x}, H, W): with a share s = 1 / (n + 1) of x and 1 - s of
    the n = ``examples`` of R,

        μ = (1 - s) μ_R + s μ_x,    σ² = (1 - s) (σ_R² + (μ_R - μ)²) + s (σ_x² + (μ_x - μ)²).

    R itself is standardised by its own μ_R and σ_R², over (R, H, W). It passes through the network
    in front of every batch, from inputs that are drawn once, kept with the weights, and the same on
    all ranks: real examples for D, latents and what goes with them for G. ``over: whole_batch``
    trains by the statistics of R and the whole batch of all ranks, (R ∪ X, H, W), for R and X
    alike. In evaluation each example stands beside R by itself either way. Takes (n + N, C, ...)
    and raises ValueError where there is no N.
    """

    def __init__(
        self,
        channels: int,
        *,
        examples: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64,
        over: Annotated[
            Literal["per_sample", "whole_batch"], Options(("per_sample", "whole_batch"))
        ] = "per_sample",
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels)
        self.examples, self.whole, self.eps = examples, over == "whole_batch", eps

    def forward(self, x: Tensor, context: Context) -> Tensor:
        if x.shape[0] <= self.examples:
            raise ValueError(
                f"virtual_batch_norm takes {self.examples} examples of reference in front of a "
                f"batch, but got {x.shape[0]} in all"
            )
        reference, rest = full(x).tensor_split([self.examples])
        own = moments(reference, batch_and_space(reference))
        if self.whole and self.training:
            by = self.beside(own, of_batch(rest, self.company), len(rest) * self.company.size)
            return self.scaled(standardised(full(x), by, self.eps)).to(x.dtype)
        each = of_each(rest)
        mean, variance = (channelwise(values, rest) for values in (each.mean, each.variance))
        by = self.beside(own, Moments(mean, variance, each.n), 1)
        said = standardised(reference, own, self.eps), standardised(rest, by, self.eps)
        return self.scaled(torch.cat(said)).to(x.dtype)

    def beside(self, own: Moments, others: Moments, n: int) -> Moments:
        """The statistics of the reference and of ``n`` examples as one."""
        share = n / (self.examples + n)
        shares = own.mean.new_tensor([1 - share, share]).reshape(2, *[1] * own.mean.ndim)
        pairs = zip(own[:2], others[:2], strict=True)
        means, variances = (torch.stack([a.expand_as(b), b]) for a, b in pairs)
        mean, variance = mixture(means, variances, shares, 0)
        return Moments(mean[0], variance[0], others.n)
