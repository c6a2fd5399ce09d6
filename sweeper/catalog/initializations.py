"""How the weights of layers are drawn.

Weights are those of linear and convolutional layers, and of tables; biases become 0, and the scales
and shifts of normalizations stay as they are unless a technique says otherwise. All is drawn before
a constraint, such as spectral norm, takes hold of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from sweeper.catalog.families import initializations
from sweeper.registry import LogUniform

Gain = Annotated[float, Gt(0), LogUniform(0.5, 2.0)]


@initializations.register(paper="radford2016")
def dcgan_normal(layer: nn.Module) -> None:
    """Weights from N(0, 0.02), biases 0; the scale of a normalization from N(1, 0.02)."""
    for name, parameter in layer.named_parameters(recurse=False):
        if name == "bias":
            parameter.zero_()
        elif parameter.ndim > 1:
            parameter.normal_(0.0, 0.02)
        elif name == "weight":
            parameter.normal_(1.0, 0.02)


@initializations.register(paper="glorot2010")
def xavier_uniform(layer: nn.Module, *, gain: Gain = 1.0) -> None:
    """Weights from U(-a, a), a = gain √(6 / (n_in + n_out)); biases 0.

    n_in and n_out are the numbers of inputs and outputs of a unit: channels times the kernel's
    area. The variance is 2 gain² / (n_in + n_out).
    """
    draw(layer, lambda w: nn.init.xavier_uniform_(w, gain))


@initializations.register(paper="glorot2010")
def xavier_normal(layer: nn.Module, *, gain: Gain = 1.0) -> None:
    """Weights from N(0, σ²), σ² = 2 gain² / (n_in + n_out); biases 0.

    n_in and n_out are the numbers of inputs and outputs of a unit: channels times the kernel's
    area.
    """
    draw(layer, lambda w: nn.init.xavier_normal_(w, gain))


@initializations.register(paper="he2015")
def he_normal(layer: nn.Module, *, gain: Gain = 1.0) -> None:
    """Weights from N(0, σ²), σ² = 2 gain² / n_in; biases 0. Also called Kaiming's.

    n_in is the number of inputs of a unit, channels times the kernel's area: under ReLUs the
    activations keep their second moment from layer to layer. With leaky ones of slope a, that takes
    a ``gain`` of 1/√(1 + a²).
    """
    draw(layer, lambda w: nn.init.kaiming_normal_(w).mul_(gain))


@initializations.register(paper="saxe2014")
def orthogonal(layer: nn.Module, *, gain: Gain = 1.0) -> None:
    """Weights whose matrix stretches nothing, or everything by ``gain``; biases 0.

    Of W, with a row per output channel, rows or columns are orthogonal to each other and gain long:
    WWᵀ = gain² 1 or WᵀW = gain² 1, and all singular values are the gain.
    """
    draw(layer, lambda w: nn.init.orthogonal_(w, gain))


def draw(layer: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    """Fill the weights of a layer itself, as if each had a row per output; biases become 0."""
    for name, parameter in layer.named_parameters(recurse=False):
        if name == "bias":
            parameter.zero_()
        elif parameter.ndim > 1:
            # A transposed convolution has a row per input.
            turned = isinstance(layer, _ConvTransposeNd)
            weights = parameter.transpose(0, 1) if turned else parameter
            weights.copy_(fill(weights.contiguous().clone()))
