"""Constraints: what holds of the weights afterwards."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import constraints, normalizations
from sweeper.game import Context
from sweeper.trial.step import play_round
from tests.formulas.games import Linear, Point, draw, game, progress


def layer(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = kind(6, 5) if kind is nn.Linear else kind(6, 5, 4, 2, 1, bias=False)
    return made.double()


def matrix(weight: Tensor, kind: type[nn.Module]) -> Tensor:
    return (weight.transpose(0, 1) if kind is nn.ConvTranspose2d else weight).flatten(1)


KINDS = [nn.Linear, nn.Conv2d, nn.ConvTranspose2d]


@pytest.mark.parametrize("kind", KINDS)
def test_spectral_norm_brings_the_largest_singular_value_to_one(kind: type[nn.Module]) -> None:
    before = matrix(layer(kind).weight.detach(), kind)
    constrained = constraints["spectral_norm"].make()(layer(kind))
    for _ in range(200):
        weight = constrained.weight  # one power iteration per training forward
    after = matrix(weight.detach(), kind)
    assert float(torch.linalg.svdvals(after)[0]) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(
        after, before / torch.linalg.svdvals(before)[0], rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_spectral_norm_forgets_the_scale_of_the_weights(kind: type[nn.Module]) -> None:
    constrained = constraints["spectral_norm"].make(iterations=5)(layer(kind)).eval()
    x = torch.randn(3, 6, *([] if kind is nn.Linear else [8, 8]), dtype=torch.float64)
    before = constrained(x)
    with torch.no_grad():
        constrained.parametrizations.weight.original.mul_(7)
    bias = 0 if constrained.bias is None else constrained.bias
    torch.testing.assert_close(constrained(x) - bias, before - bias)


def test_a_spectrally_normalised_layer_is_1_lipschitz() -> None:
    constrained = constraints["spectral_norm"].make()(layer(nn.Linear))
    for _ in range(200):
        constrained(torch.zeros(1, 6, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 1000, 6, generator=generator, dtype=torch.float64)
    ratio = (constrained(x) - constrained(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert float(ratio.detach().max()) <= 1 + 1e-6


def test_weight_clipping_bounds_weights_and_spares_buffers() -> None:
    network = nn.Sequential(nn.Linear(4, 4), normalizations["batch_norm"].make(4))
    network[1].running_var.fill_(5.0)
    untouched = {k: v.clone() for k, v in network.named_buffers()}
    clipped = [p.detach().clamp(-0.05, 0.05) for p in network.parameters()]
    constraints["weight_clipping"].make(clip=0.05)(network)
    for weight, expected in zip(network.parameters(), clipped, strict=True):
        assert torch.equal(weight.detach(), expected)
    assert all(torch.equal(v, untouched[k]) for k, v in network.named_buffers())
    assert untouched["1.running_var"].max() == 5
    before = [p.detach().clone() for p in network.parameters()]
    constraints["weight_clipping"].make(clip=math.inf)(network)
    assert all(map(torch.equal, before, network.parameters()))


def test_weight_clipping_follows_every_step_of_its_player() -> None:
    d, g = Linear([0.0]), Point([1.0])
    gan = game(d, g, lr=1.0, constraint=constraints["weight_clipping"].make(clip=0.01))
    at = progress()
    for _ in range(5):
        play_round(gan, draw, at, {})
        assert abs(d.weight.item()) == pytest.approx(0.01)
    assert abs(g.place.item()) > 0.9


def test_context_is_optional_for_no_layer() -> None:
    for name in normalizations:
        if not normalizations[name].needs and normalizations[name].asks == ("channels",):
            x = torch.randn(70, 4)
            shown = normalizations[name].make(4)(x, Context())
            assert shown.shape[1:] == x.shape[1:]
