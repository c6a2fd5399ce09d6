"""Classes as learnt vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, cast

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn.functional import interpolate

from sweeper.catalog.conditioning.conditioning import Conditioning, label
from sweeper.catalog.families import conditioning
from sweeper.game import Batch, Context, Known, Layers, Player
from sweeper.registry import Law, LogUniform, Options


@conditioning.register(
    paper="mirza2014",
    provides={"told_class"},
    conflicts={Law("packs", "the examples of a pack are of several classes", on="discriminator")},
    facts={"told": ("label",)},
)
class ClassEmbeddingConcat(Conditioning):
    """A network is told the class as a learnt vector: G beside its latents, D as a channel more.

    Each class c has a vector e_c of ``size`` numbers, from N(0, 1) at first. G is given (z, e_c).
    For D, e_c is a map of √size by √size pixels, which is enlarged to the size of the image by
    bilinear interpolation and stands beside its channels: (N, C, H, W) to (N, C + 1, H, W); beside
    a point (N, K) it stands as it is. With ``max_norm``, longer vectors are shortened to it: e ·
    min(1, max_norm / ‖e‖). Raises ValueError for D and images when ``size`` is no square.
    """

    def __init__(
        self,
        known: Known,
        player: Player,
        shape: Sequence[int],
        layers: Layers,
        *,
        size: Annotated[int, Ge(1), Options((4, 16, 64))] = 16,
        max_norm: Annotated[float | None, Gt(0), LogUniform(0.5, 2.0)] = None,
    ) -> None:
        super().__init__()
        self.max_norm, self.table = max_norm, layers.weighted(nn.Embedding(known.classes, size))
        self.side = math.isqrt(size)
        if player is Player.G:
            self.latents = size
        else:
            self.channels = size if len(shape) == 1 else 1
            if len(shape) == 3 and self.side**2 != size:
                raise ValueError(
                    "class_embedding_concat shows D each class as a square map, so its size is a "
                    f"square number, but got {size}"
                )

    def vector(self, told: Tensor) -> Tensor:
        """The vector of each class, (N, size)."""
        e = cast(Tensor, self.table(told))
        if self.max_norm is None:
            return e
        length: Tensor = torch.linalg.vector_norm(e, dim=1, keepdim=True)
        return e * (self.max_norm / length.clamp(min=self.max_norm))

    def beside_latents(self, context: Context) -> Tensor:
        return self.vector(label(context, "a generator of classes"))

    def beside_image(self, batch: Batch) -> Tensor:
        e = self.vector(label(batch, "a discriminator of classes"))
        if batch.image.ndim == 2:
            return e
        small = e.reshape(-1, 1, self.side, self.side)
        return interpolate(small, batch.image.shape[2:], mode="bilinear", align_corners=False)
