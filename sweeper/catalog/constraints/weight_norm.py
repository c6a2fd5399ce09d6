"""Weight normalization."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils import parametrizations

from sweeper.catalog.families import constraints
from sweeper.registry import Law


@constraints.register(
    paper="salimans2016weight",
    provides={"reparametrized"},
    conflicts={Law("reparametrized", "of two scalings of the same weights, one undoes the other")},
    facts={"on": "layer"},
)
def weight_norm(layer: nn.Module) -> nn.Module:
    """Length and direction of each output unit's weights are learnt apart.

    w = g · v/‖v‖, with a scalar g per output unit or channel, over all of whose weights the norm
    runs. It starts where the plain layer would: v = w, g = ‖w‖. The paper's data-dependent start is
    left out.
    """
    output = 1 if isinstance(layer, _ConvTransposeNd) else 0
    parametrizations.weight_norm(layer, dim=output)
    return layer
