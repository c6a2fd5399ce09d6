"""Spectral normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from torch import nn
from torch.nn.utils import parametrizations

from sweeper.catalog.families import constraints
from sweeper.registry import Integers


@constraints.register(
    paper="miyato2018",
    provides={"lipschitz", "reparametrized"},
    conflicts={"reparametrized"},
    facts={"on": "layer"},
)
def spectral_norm(
    layer: nn.Module, *, iterations: Annotated[int, Ge(1), Integers(1, 5)] = 1
) -> nn.Module:
    """Each weight matrix is divided by its largest singular value, so every layer is 1-Lipschitz.

    The value is followed by ``iterations`` of the power method in each training forward.
    """
    return parametrizations.spectral_norm(layer, n_power_iterations=iterations)
