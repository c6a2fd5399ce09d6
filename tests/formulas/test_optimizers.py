"""Optimizers, one and two steps by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import optimizers

START = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
G1 = torch.tensor([0.3, -5.0, 1e-3, 2.0], dtype=torch.float64)
G2 = torch.tensor([-1.0, 4.0, 2e-3, 2.0], dtype=torch.float64)


def steps(name: str, *gradients: Tensor, **knobs: Any) -> Tensor:
    parameter = nn.Parameter(START.clone())
    optimizer = optimizers[name].make([("w", parameter)], **knobs)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach() - START


def test_adam_starts_with_a_step_of_its_rate() -> None:
    torch.testing.assert_close(steps("adam", G1, lr=0.01), -0.01 * G1.sign(), rtol=1e-4, atol=0)


def test_adam_takes_two_steps_by_its_formula() -> None:
    b1, b2, eps, lr = 0.5, 0.9, 1e-8, 0.01
    m, v, expected = torch.zeros(4).double(), torch.zeros(4).double(), torch.zeros(4).double()
    for t, g in enumerate((G1, G2), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        expected -= lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
    taken = steps("adam", G1, G2, lr=lr, beta1=b1, beta2=b2, eps=eps)
    torch.testing.assert_close(taken, expected, rtol=1e-9, atol=1e-12)


def test_rmsprop_by_its_formula() -> None:
    first = steps("rmsprop", G1, lr=0.01, alpha=0.99)
    torch.testing.assert_close(first, -0.01 / 0.01**0.5 * G1.sign(), rtol=1e-3, atol=0)
    v1 = 0.01 * G1**2
    v2 = 0.99 * v1 + 0.01 * G2**2
    expected = -0.01 * (G1 / (v1.sqrt() + 1e-8) + G2 / (v2.sqrt() + 1e-8))
    torch.testing.assert_close(steps("rmsprop", G1, G2, lr=0.01), expected)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_the_scale_of_the_loss_does_not_matter(name: str) -> None:
    taken = steps(name, G1, G2, lr=0.01, eps=1e-16)
    torch.testing.assert_close(steps(name, 1000 * G1, 1000 * G2, lr=0.01, eps=1e-16), taken)


def test_sgd() -> None:
    torch.testing.assert_close(steps("sgd", G1, G2, lr=0.1), -0.1 * (G1 + G2))
    assert torch.equal(steps("sgd", G1, lr=0.5), (START - 0.5 * G1) - START)


@pytest.mark.parametrize("name", optimizers)
def test_every_parameter_is_stepped(name: str) -> None:
    parameters = [(str(i), nn.Parameter(torch.ones(3))) for i in range(3)]
    optimizer = optimizers[name].make(iter(parameters))
    for _, parameter in parameters:
        parameter.grad = torch.ones(3)
    optimizer.step()
    assert all((p < 1).all() for _, p in parameters)
