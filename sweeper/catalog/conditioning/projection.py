"""The projection discriminator."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from sweeper.catalog.conditioning.conditioning import Conditioning, label
from sweeper.catalog.families import conditioning
from sweeper.catalog.initializations import xavier_uniform
from sweeper.catalog.scores import along
from sweeper.game import Batch, Known, Layers, Output
from sweeper.registry import Law


@conditioning.register(
    paper="miyato2018projection",
    conflicts={Law("packs", "the examples of a pack are of several classes")},
    facts={"told": ("label",), "on": "discriminator"},
)
class Projection(Conditioning):
    """D's score has a part that says how well an example goes with its class.

    score + e_c · Σ_hw φ, where φ are D's last hidden activations, (N, C, H, W), summed over space,
    or (N, C) as they are, and e_c a vector of C numbers learnt for each class. Of the scores of an
    example's patches, (N, P), each has the same part added.
    """

    def __init__(self, known: Known, layers: Layers, width: int) -> None:
        super().__init__()
        starting = layers.starting(xavier_uniform)
        self.table = starting.weighted(nn.Embedding(known.classes, width))

    def scores(self, output: Output, batch: Batch) -> Tensor:
        e = cast(Tensor, self.table(label(batch, "a discriminator of classes")))
        last = output.features[-1]
        pooled = last.flatten(2).sum(2) if last.ndim > 2 else last
        return output.scores + along((e * pooled).sum(1), output.scores)
