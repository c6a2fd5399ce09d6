"""Means and variances of activations: over all ranks that train together, and running ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sweeper.game import Coupled, Ranks


class Moments(NamedTuple):
    """The mean and the variance (biased) of some numbers, and how many they are; infinitely many
    where no estimate is to be made of a variance beyond them. To be broadcast against (N, C, ...).
    """

    mean: Tensor
    variance: Tensor
    n: Tensor

    @property
    def unbiased(self) -> Tensor:
        """The variance with n - 1 in place of n."""
        return self.variance * (1 + 1 / (self.n - 1).clamp(min=1))


def full(h: Tensor) -> Tensor:
    """In single precision at least: differences between examples are small."""
    return h.to(torch.promote_types(h.dtype, torch.float32))


def channelwise(values: Tensor, h: Tensor) -> Tensor:
    """A number for each channel (..., C), to be broadcast against activations (N, C, ...)."""
    return values.reshape(*values.shape, *[1] * (h.ndim - 2))


def batch_and_space(h: Tensor) -> list[int]:
    """The dimensions of activations (N, C, ...) but that of the channels."""
    return [d for d in range(h.ndim) if d != 1]


def space_mean(h: Tensor) -> Tensor:
    """The mean of each channel of each example of (N, C, ...), over space if there is any."""
    return h.mean(tuple(range(2, h.ndim)), keepdim=True) if h.ndim > 2 else h


def moments(h: Tensor, over: Sequence[int]) -> Moments:
    """Those over some dimensions."""
    variance, mean = torch.var_mean(h, list(over), correction=0, keepdim=True)
    return Moments(mean, variance, h.new_full((), h.numel() / mean.numel()))


def weighed(h: Tensor, weights: Tensor, over: Sequence[int]) -> Moments:
    """Those over some dimensions, each number counting as its weight says, from 0 to 1: 0 where all
    weights are."""
    weights = weights.to(h).expand(*weights.shape[:2], *h.shape[2:])
    count = weights.sum(list(over), keepdim=True)
    shares = weights / count.clamp(min=torch.finfo(h.dtype).tiny)
    mean = (shares * h).sum(list(over), keepdim=True)
    variance = (shares * (h - mean).square()).sum(list(over), keepdim=True)
    return Moments(mean, variance, count)


def mixture(
    mean: Tensor, variance: Tensor, shares: Tensor | float, over: int
) -> tuple[Tensor, Tensor]:
    """Mean and variance of a mixture of parts along a dimension, which is kept: μ = Σ sₖ μₖ and
    σ² = Σ sₖ (σₖ² + (μₖ - μ)²), the shares sₖ adding up to 1."""
    mixed = (shares * mean).sum(over, keepdim=True)
    return mixed, (shares * (variance + (mean - mixed).square())).sum(over, keepdim=True)


def of_all(own: Moments, ranks: Ranks) -> Moments:
    """Those of the numbers of all ranks, from those of this one's, in one exchange."""
    if ranks.size == 1:
        return own
    told = torch.stack([own.mean, own.variance, own.n.expand_as(own.mean)])
    means, variances, counts = ranks.gathered(told[None]).unbind(1)
    count = counts.sum(0, keepdim=True)
    shares = counts / count.clamp(min=torch.finfo(count.dtype).tiny)
    mean, variance = mixture(means, variances, shares, 0)
    return Moments(mean[0], variance[0], count[0])


def of_batch(h: Tensor, ranks: Ranks) -> Moments:
    """Those of each channel over the batch of all ranks and space."""
    return of_all(moments(h, batch_and_space(h)), ranks)


def mean_of_all(h: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """The mean alone of each channel over the batch of all ranks and space, and of how many numbers
    it is."""
    sums = [part.sum(batch_and_space(h), keepdim=True) for part in (h, torch.ones_like(h))]
    first, n = ranks.sum(torch.stack(sums)).unbind()
    return first / n, n


def of_each(h: Tensor) -> Moments:
    """Those of each channel of each example over space, (N, C)."""
    found = moments(h.flatten(2) if h.ndim > 2 else h[..., None], [2])
    return Moments(found.mean[..., 0], found.variance[..., 0], found.n)


@torch.no_grad()
def follow(mean: Tensor, variance: Tensor, now: Moments, momentum: float) -> None:
    """Let running statistics follow those of a batch, where there was anything in it."""
    share = momentum * (now.n > 0).to(mean)
    for old, new in ((mean, now.mean), (variance, now.unbiased)):
        weights = share.expand_as(new).reshape(old.shape)
        old.lerp_(new.to(old).reshape(old.shape), weights)


class Running(Coupled):
    """The mean and the variance of each channel in a batch, which running ones follow while they
    are trained, by a share of ``momentum``, and stand in for in evaluation.

    Of the variances, there may be one for all channels.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float, variances: int = 0) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(variances or channels))

    def forward(self, h: Tensor, find: Callable[[Tensor, Ranks], Moments] = of_batch) -> Moments:
        """Those of activations (N, C, ...); ``find`` says what those of a batch are."""
        if not self.training:
            mean, variance = (channelwise(kept[None], h) for kept in (self.mean, self.variance))
            return Moments(mean, variance, h.new_full((), torch.inf))
        now = find(h, self.company)
        follow(self.mean, self.variance, now, self.momentum)
        return now


def standardised(h: Tensor, by: Moments, eps: float) -> Tensor:
    """(h - μ) / √(σ² + ε)."""
    return (h - by.mean) * (by.variance + eps).rsqrt()


class Standardised(nn.Module):
    """Each channel of (N, C, ...) standardised over the batch and space, with running statistics
    in evaluation, and neither scaled nor shifted."""

    def __init__(self, channels: int, momentum: float, eps: float) -> None:
        super().__init__()
        self.running, self.eps = Running(channels, momentum), eps

    def forward(self, h: Tensor) -> Tensor:
        return standardised(h, self.running(h), self.eps)


class Affine(nn.Module):
    """A scale and a shift of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def scaled(self, y: Tensor) -> Tensor:
        """γ y + β."""
        return y * channelwise(self.weight, y) + channelwise(self.bias, y)
