"""The first layer of G and the last of D: convolutions, computed as products of matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.architectures.ends import SMALLEST, Spread, Whole

LAYERS = {
    "spread": (Spread, nn.ConvTranspose2d, (5, 6, 1, 1)),
    "whole": (Whole, nn.Conv2d, (5, 6, SMALLEST, SMALLEST)),
}


def penalised(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What it makes, and the gradients of a penalty on its gradient, as R1 has it."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    made = layer(x)
    (slope,) = torch.autograd.grad(made.square().sum(), x, create_graph=True)
    found = torch.autograd.grad(slope.square().sum(), [x, *layer.parameters()])
    return [made.detach(), *found]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_the_product_is_the_convolution(name: str, bias: bool, memory: torch.memory_format) -> None:
    ours, theirs, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = ours(6, 3, SMALLEST, bias=bias).double().to(memory_format=memory)
    plain = theirs(6, 3, SMALLEST, bias=bias).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(shape).double().to(memory_format=memory)
    for found, wanted in zip(penalised(layer, x), penalised(plain, x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_the_product_of_channels_that_come_last_has_them_last() -> None:
    layer = Spread(6, 3, SMALLEST).to(memory_format=torch.channels_last)
    made = layer(torch.randn(5, 6, 1, 1))
    assert made.shape == (5, 3, SMALLEST, SMALLEST)
    assert made.is_contiguous(memory_format=torch.channels_last)
