"""Conditional instance normalization."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.instance_norm import InstanceNorm
from sweeper.catalog.normalizations.told import Table, affine, classes_of, label
from sweeper.game import Context, Known
from sweeper.registry import Law, Options


@normalizations.register(
    paper="dumoulin2017",
    needs={"feature_maps"},
    provides={"told_class", "no_third_derivative"},
    conflicts={Law("packs", "the examples of a pack are of several classes", on="discriminator")},
    facts={"told": ("label",)},
)
class ConditionalInstanceNorm(InstanceNorm):
    """Instance normalization whose scale and shift belong to the class, or style, of each example.

    y = γ(c) · (x - μ) / √(σ² + ε) + β(c), with μ and σ² of each channel of each example over space,
    (H, W); γ and β are rows of two tables, (classes, C), all 1 and 0 at first. Takes (N, C, H, W)
    of more than one pixel.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        *,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__(channels, eps=eps)
        self.rows = Table(classes_of(known, "conditional_instance_norm"), channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return affine(super().forward(x, context), *self.rows(label(context))).to(x.dtype)
