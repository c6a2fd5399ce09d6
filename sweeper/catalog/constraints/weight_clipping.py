"""Weight clipping."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn

from sweeper.catalog.families import constraints
from sweeper.registry import LogUniform


@constraints.register(
    paper="arjovsky2017",
    provides={"lipschitz"},
    conflicts={"reparametrized", "input_gradient"},
    facts={"on": "network"},
)
@torch.no_grad()
def weight_clipping(
    network: nn.Module, *, clip: Annotated[float, Gt(0), LogUniform(1e-3, 1e-1)] = 0.01
) -> None:
    """After each step every weight is clamped to [-clip, clip]: a bounded Lipschitz constant."""
    for weight in network.parameters():
        weight.clamp_(-clip, clip)
