"""Architectures: shapes, ranges and the number of weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from sweeper.catalog.families import architectures, normalizations
from sweeper.game import Batch, Context, Layers


class Plain(Layers):
    """Batch norm everywhere, and nothing else beside."""

    def norm(self, channels: int) -> nn.Module:
        return normalizations["batch_norm"].make(channels)


def size_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("side", [8, 16, 32, 64])
@pytest.mark.parametrize("colours", [1, 3])
def test_dcgan(side: int, colours: int) -> None:
    c, latent, shape = 8, 10, (colours, side, side)
    made = architectures["dcgan"].make(channels=c)
    g, d = made.generator(shape, latent, Plain()), made.discriminator(shape, Plain())
    x = g(torch.randn(5, latent), Context())
    assert x.shape == (5, *shape)
    assert float(x.detach().abs().max()) <= 1
    output = d(Batch(x))
    assert output.scores.shape == (5,)
    assert [len(f) for f in output.features] == [5] * {8: 1, 16: 2, 32: 3, 64: 4}[side]
    widths = [c << k for k in range({8: 1, 16: 2, 32: 3, 64: 4}[side])]
    between = sum(16 * a * b for a, b in itertools.pairwise(widths))
    top = widths[-1]
    assert size_of(g) == (
        16 * latent * top + between + 2 * sum(widths) + 16 * c * colours + colours
    )
    assert size_of(d) == 16 * colours * c + c + between + 2 * sum(widths[1:]) + 16 * top + 1


def test_dcgan_starts_small() -> None:
    made = architectures["dcgan"].make(channels=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        d = made.discriminator((3, 32, 32), Plain())
    for module in d.modules():
        if isinstance(module, nn.Conv2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm1d):
            assert float(module.weight.detach().mean()) == pytest.approx(1, abs=0.01)
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 28, 28), (1, 16, 32), (1, 0, 0), (1, 12, 12)])
def test_dcgan_takes_squares_of_a_power_of_two(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"power of two from 8 up, but got {shape[1]}x{shape[2]}"):
        architectures["dcgan"].make().generator(shape, 8, Plain())


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_mlp_gan(shape: tuple[int, ...], depth: int) -> None:
    h, latent, k = 16, 6, torch.Size(shape).numel()
    made = architectures["mlp_gan"].make(hidden=h, depth=depth)
    g, d = made.generator(shape, latent, Plain()), made.discriminator(shape, Plain())
    x = g(torch.randn(5, latent), Context())
    assert x.shape == (5, *shape)
    assert d(Batch(x)).scores.shape == (5,)
    inner, norm = (h + 1) * h * (depth - 1), 2 * h
    assert size_of(g) == (latent + 1) * h + inner + norm * depth + (h + 1) * k
    assert size_of(d) == (k + 1) * h + inner + norm * (depth - 1) + h + 1
    if len(shape) == 3:
        assert float(g(1e4 * torch.randn(5, latent), Context()).detach().abs().max()) <= 1


def test_points_are_not_squashed() -> None:
    g = architectures["mlp_gan"].make().generator((2,), 4, Plain())
    with torch.no_grad():
        g.head.bias.fill_(5.0)
    assert float(g(torch.randn(8, 4), Context()).detach().max()) > 1
