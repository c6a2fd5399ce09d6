"""Cosine normalization."""

from __future__ import annotations

import math
from typing import Annotated, Literal, cast

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, linear
from torch.nn.modules.conv import _ConvTransposeNd

from sweeper.catalog.families import constraints
from sweeper.registry import Law, Options

CRITIC = "scores in [-1, 1] bound what a critic can tell; learn the scale"


class Cosine(nn.Module):
    """What makes the products of a layer's weights with its inputs cosines of the angle between
    them. The layer's class comes after this one."""

    weight: Tensor
    eps: float
    centered: bool
    scale: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        product = self.taps(x, w)
        # By one output of ones, the sum over the taps of an input; by one example of ones, that of
        # the weights. At the border there are fewer taps.
        ones = torch.ones_like(x[:1])
        rows = self.rows_of_ones()
        of_x, of_w = self.taps(x.square(), rows), self.taps(ones, w.square())
        if self.centered:
            n, x_sum, w_sum = self.taps(ones, rows), self.taps(x, rows), self.taps(ones, w)
            product = product - x_sum * w_sum / n
            of_x, of_w = of_x - x_sum.square() / n, of_w - w_sum.square() / n
        lengths = (of_x.clamp(min=0) + self.eps) * (of_w.clamp(min=0) + self.eps)
        y = product * lengths.rsqrt()
        if self.scale is not None:
            y = y * self.scale.to(y.dtype)
        bias = cast("Tensor | None", self.bias)
        return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2)).to(y.dtype)

    def taps(self, x: Tensor, w: Tensor) -> Tensor:
        """The sum over taps of inputs times weights: the layer without its bias."""
        raise NotImplementedError

    def rows_of_ones(self) -> Tensor:
        """Weights of 1 to as few outputs as there are sums of inputs."""
        return torch.ones_like(self.weight[:1])


class CosineLinear(Cosine, nn.Linear):
    """A fully connected layer of cosines."""

    def taps(self, x: Tensor, w: Tensor) -> Tensor:
        return linear(x, w)


class CosineConv(Cosine, nn.Conv2d):
    """A convolution of cosines."""

    def taps(self, x: Tensor, w: Tensor) -> Tensor:
        return cast(Tensor, self._conv_forward(x, w, None))

    def rows_of_ones(self) -> Tensor:
        # Each group of channels has sums of its own, which all its outputs share.
        return torch.ones_like(self.weight[:1] if self.groups == 1 else self.weight)


class CosineConvTranspose(Cosine, nn.ConvTranspose2d):  # type: ignore[misc]
    """A transposed convolution of cosines."""

    def taps(self, x: Tensor, w: Tensor) -> Tensor:
        padding, more = cast(list[int], self.padding), cast(list[int], self.output_padding)
        stride, dilation = self.stride, self.dilation
        return conv_transpose2d(x, w, None, stride, padding, more, self.groups, dilation)

    def rows_of_ones(self) -> Tensor:
        return torch.ones_like(self.weight[:, :1] if self.groups == 1 else self.weight)


OF_COSINES: dict[type[nn.Module], type[Cosine]] = {
    nn.Linear: CosineLinear,
    nn.Conv2d: CosineConv,
    nn.ConvTranspose2d: CosineConvTranspose,
}


@constraints.register(
    paper="luo2018",
    provides={"reparametrized"},
    conflicts={Law("reparametrized", "of two scalings of the same weights, one undoes the other")},
    warns={Law("critic", CRITIC, when="scale == one")},
    facts={"on": "layer"},
)
def cosine_norm(
    layer: nn.Module,
    *,
    centered: Annotated[bool, Options((False, True))] = False,
    scale: Annotated[Literal["learnt", "one"], Options(("learnt", "one"))] = "learnt",
    eps: Annotated[float, Gt(0), Options((1e-8, 1e-5))] = 1e-8,
) -> nn.Module:
    """Layers give the cosine of the angle between weights and inputs in place of their product.

    y = s · (w·x) / √((‖w‖² + ε)(‖x‖² + ε)) + b, over the inputs that an output has: all of a fully
    connected layer, the patch under the kernel of a convolution, (C, k, k), as far as it is inside
    of the image. ``centered`` is their correlation: w and x less their means over these. Without
    s (``one``), y - b is in [-1, 1], which keeps a hinge's margin out of D's reach; s is learnt,
    one for each layer, from √n on, n being the number of inputs of an output, with which an output
    has about the variance 1. Tables of embeddings have no inputs, and stay as they are.
    """
    kind = next((OF_COSINES[k] for k in type(layer).__mro__ if k in OF_COSINES), None)
    if kind is None:
        return layer
    layer.__class__ = kind
    cosine = cast(Cosine, layer)
    cosine.centered, cosine.eps, cosine.scale = centered, eps, None
    if scale == "learnt":
        start = torch.full((), math.sqrt(taps_of(layer)), device=cosine.weight.device)
        cosine.scale = nn.Parameter(start)
    return cosine


def taps_of(layer: nn.Module) -> float:
    """How many inputs an output has, away from the border."""
    weight = cast(Tensor, layer.weight)
    if not isinstance(layer, _ConvTransposeNd):
        return weight[0].numel()
    apart = math.prod(layer.stride) * layer.groups
    return layer.in_channels * math.prod(layer.kernel_size) / apart
