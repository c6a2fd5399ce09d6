"""Rectified linear units."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import nn

from sweeper.catalog.families import activations
from sweeper.registry import Uniform


@activations.register("relu", paper="nair2010")
class Relu(nn.ReLU):
    """max(0, x)."""

    def __init__(self) -> None:
        super().__init__()


@activations.register("leaky_relu", paper="maas2013")
class LeakyRelu(nn.LeakyReLU):
    """max(x, slope · x)."""

    def __init__(self, *, slope: Annotated[float, Gt(0), Uniform(0.01, 0.4)] = 0.2) -> None:
        super().__init__(slope)
