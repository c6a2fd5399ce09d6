"""Normalizations, against their formulas written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.game import Context

EPS = 1e-5


def made(name: str, channels: int = 4, **knobs: Any) -> nn.Module:
    module: nn.Module = normalizations[name].make(channels, **knobs).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def plain(name: str, channels: int = 4, **knobs: Any) -> nn.Module:
    module: nn.Module = normalizations[name].make(channels, **knobs).double()
    return module


@pytest.fixture
def x() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 + 2 * torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64)


def standardised(x: Tensor, over: tuple[int, ...]) -> Tensor:
    mean, variance = x.mean(over, keepdim=True), x.var(over, correction=0, keepdim=True)
    return (x - mean) / (variance + EPS).sqrt()


def test_batch_norm(x: Tensor) -> None:
    norm = made("batch_norm")
    scale, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    y = norm(x, Context())
    torch.testing.assert_close(y, standardised(x, (0, 2, 3)) * scale + shift)
    torch.testing.assert_close(y.mean((0, 2, 3)), norm.bias)
    torch.testing.assert_close(
        y.std((0, 2, 3), correction=0), norm.weight.abs(), rtol=1e-4, atol=1e-4
    )


def test_batch_norm_in_evaluation_uses_running_statistics_only(x: Tensor) -> None:
    norm = plain("batch_norm", momentum=0.25)
    norm(x, Context())
    mean, variance = 0.25 * x.mean((0, 2, 3)), 0.75 + 0.25 * x.var((0, 2, 3), correction=1)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    norm.eval()
    other = 10 * x[:2]
    expected = (other - mean[:, None, None]) / (variance[:, None, None] + EPS).sqrt()
    torch.testing.assert_close(norm(other, Context()), expected)
    torch.testing.assert_close(norm(other[:1], Context()), expected[:1])
    torch.testing.assert_close(norm.running_mean, mean)


def test_layer_norm(x: Tensor) -> None:
    stock = nn.LayerNorm([4, 5, 5], elementwise_affine=False).double()
    torch.testing.assert_close(plain("layer_norm")(x, Context()), stock(x))
    norm = made("layer_norm")
    expected = standardised(x, (1, 2, 3)) * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x, Context()), expected)


@pytest.mark.parametrize("name", ["layer_norm", "instance_norm", "group_norm"])
def test_examples_do_not_touch_each_other(name: str, x: Tensor) -> None:
    norm = made(name)
    together = norm(x, Context())
    alone = torch.cat([norm(each[None], Context()) for each in x])
    torch.testing.assert_close(together, alone)


def test_instance_norm(x: Tensor) -> None:
    y = plain("instance_norm")(x, Context())
    torch.testing.assert_close(y, standardised(x, (2, 3)))
    torch.testing.assert_close(y, nn.GroupNorm(4, 4, affine=False).double()(x))
    assert not list(plain("instance_norm").parameters())


def test_instance_norm_forgets_the_scale_and_shift_of_every_channel(x: Tensor) -> None:
    norm = plain("instance_norm", eps=1e-12)
    scale = 0.5 + torch.rand(6, 4, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(norm(scale * x + 3, Context()), norm(x, Context()))


def test_instance_norm_scales_and_shifts_when_asked(x: Tensor) -> None:
    norm = made("instance_norm", affine=True)
    expected = standardised(x, (2, 3)) * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x, Context()), expected)


def test_group_norm_lies_between_layer_norm_and_instance_norm(x: Tensor) -> None:
    groups = plain("group_norm", groups=2)(x, Context())
    torch.testing.assert_close(groups[:, :2], standardised(x[:, :2], (1, 2, 3)))
    torch.testing.assert_close(groups[:, 2:], standardised(x[:, 2:], (1, 2, 3)))
    for count, name in ((1, "layer_norm"), (4, "instance_norm")):
        same = plain("group_norm", groups=count)(x, Context())
        torch.testing.assert_close(same, plain(name)(x, Context()))


def test_group_norm_takes_groups_that_divide_the_channels() -> None:
    with pytest.raises(
        ValueError, match="groups must divide the channels, but 3 does not divide 4"
    ):
        plain("group_norm", groups=3)


def test_none_leaves_activations_as_they_are(x: Tensor) -> None:
    assert torch.equal(plain("none")(x, Context()), x)
