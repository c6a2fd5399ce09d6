"""Conditional batch normalization."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt, Le
from torch import Tensor, nn

from sweeper.catalog.families import normalizations
from sweeper.catalog.normalizations.moments import Standardised
from sweeper.catalog.normalizations.told import (
    Mapped,
    Table,
    affine,
    classes_of,
    label,
    style,
    style_of,
)
from sweeper.game import Context, Known, Layers
from sweeper.registry import Law, LogUniform, Options


@normalizations.register(
    paper="devries2017",
    needs={
        Law(
            "told_class",
            "the style vector tells the class only if it is part of it",
            when="condition == style",
        )
    },
    provides={
        "batch_statistics",
        "batch_coupled",
        Law("told_class", when="condition == class"),
    },
    conflicts={Law("packs", "the examples of a pack are of several classes", on="discriminator")},
    warns={Law("small_batch", "statistics of a few examples are mostly noise")},
    facts={"told": ("label",)},
)
class ConditionalBatchNorm(nn.Module):
    """Batch normalization whose scale and shift belong to the class of each example.

    y = γ(c) · (x - μ) / √(σ² + ε) + β(c), with μ and σ² of each channel over the batch and space,
    (N, H, W), and over all ranks; in evaluation, running statistics. Takes (N, C, ...).

    With ``condition: class``, γ and β are rows of two tables, (classes, C), all 1 and 0 at first:
    batch normalization. With ``condition: style``, γ = 1 + As and β = Bs + b, where s is what G is
    given: beside ``class_embedding_concat``, the latents and an embedding of the class that all
    layers share, as in BigGAN-deep. Raises ValueError where a network has no such vector, as D.
    """

    def __init__(
        self,
        channels: int,
        known: Known,
        layers: Layers,
        *,
        condition: Annotated[Literal["class", "style"], Options(("class", "style"))] = "class",
        momentum: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 0.3)] = 0.1,
        eps: Annotated[float, Gt(0), Options((1e-5, 1e-3))] = 1e-5,
    ) -> None:
        super().__init__()
        self.norm = Standardised(channels, momentum, eps)
        name, self.by_class = "conditional_batch_norm", condition == "class"
        self.rows = (
            Table(classes_of(known, name), channels)
            if self.by_class
            else Mapped(style_of(known, name), channels, layers)
        )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        told = label(context) if self.by_class else style(context)
        return affine(self.norm(x), *self.rows(told)).to(x.dtype)
