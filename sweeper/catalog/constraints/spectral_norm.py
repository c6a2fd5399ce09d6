"""Spectral normalization."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn
from torch.nn.utils import parametrizations

from sweeper.catalog.families import constraints
from sweeper.registry import Integers, Law


@constraints.register(
    paper="miyato2018",
    provides={"lipschitz", "reparametrized", "spectral"},
    conflicts={Law("reparametrized", "of two scalings of the same weights, one undoes the other")},
    facts={"on": "layer"},
)
def spectral_norm(
    layer: nn.Module, *, iterations: Annotated[int, Ge(1), Integers(1, 5)] = 1
) -> nn.Module:
    """Each weight matrix is divided by its largest singular value, so every layer is 1-Lipschitz.

    W/σ(W), where W has a row per output channel; σ is followed by ``iterations`` of the power
    method in each training forward, from where the last one ended. Steps that are looked ahead to
    are followed, too, and forgotten with them.
    """
    if not any(p.is_meta for p in layer.parameters()):
        return parametrizations.spectral_norm(layer, n_power_iterations=iterations)
    # The first iterations, which torch makes here, take longer on no numbers than on any.
    with torch.device("cpu"):
        real = layer.to_empty(device="cpu")
        return parametrizations.spectral_norm(real, n_power_iterations=iterations).to("meta")
