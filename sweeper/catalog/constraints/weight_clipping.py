"""Weight clipping."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn

from sweeper.catalog.activations.prelu import slopes
from sweeper.catalog.families import constraints
from sweeper.registry import Law, LogUniform


@constraints.register(
    paper="arjovsky2017",
    provides={"lipschitz", "clipped"},
    conflicts={
        Law("reparametrized", "it would clip what the weights are computed from, not the weights")
    },
    warns={Law("momentum", "weights at the clip are pushed on by gradients long gone")},
    facts={"on": "network"},
)
def weight_clipping(
    network: nn.Module, *, clip: Annotated[float, Gt(0), LogUniform(1e-3, 1e-1)] = 0.01
) -> None:
    """After each step every weight is clamped to [-clip, clip]: a bounded Lipschitz constant.

    All trained parameters are weights here, scales and shifts of normalizations among them; what is
    frozen stays, and so do the slopes of activations. The paper's clip is 0.01.
    """
    with torch.no_grad():
        spared = slopes(network)
        for weight in network.parameters():
            if weight.requires_grad and weight not in spared:
                weight.clamp_(-clip, clip)
