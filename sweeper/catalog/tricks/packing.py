"""Packing, the technique of PacGAN."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.game import Batch, Progress, Trick
from sweeper.registry import Integers, Law


@tricks.register(
    paper="lin2018",
    provides={Law("packs", when="m > 1")},
    conflicts={
        Law("ranks", "the examples of a pack stand side by side in the joined batch", when="m > 1")
    },
    warns={
        Law("minibatch", "both show D several examples at once, and it now compares packs", "m > 1")
    },
    facts={"stage": 99},
)
class Packing(Trick):
    """D scores packs of m examples that are all real or all fake, and so sees a lack of variety.

    Pack k holds the examples km, …, km + m - 1, one after another on the channels: (N, C, H, W) to
    (N/m, mC, H, W), points (N, K) to (N/m, mK). Each pack has one score, one label target, and one
    slope in a penalty. ``m`` times as many examples are drawn, so that there are as many packs as
    there were examples; only D's first layer is wider. What else is known of the examples is packed
    likewise, except for class labels: a pack of several classes has none.
    """

    def __init__(self, *, m: Annotated[int, Ge(1), Integers(1, 4)] = 2) -> None:
        super().__init__()
        self.m = m

    def shown(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.m * shape[0], *shape[1:])

    def batch_size(self, n: int) -> int:
        return self.m * n

    def images(self, batch: Batch, progress: Progress) -> Batch:
        if self.m == 1:
            return batch
        known = {field.name: getattr(batch, field.name) for field in fields(batch)}
        packed = {
            name: self.packed(value)
            for name, value in known.items()
            if value is not None and name not in ("label", "domain")
        }
        # All examples of a pack are of one domain.
        domain = None if batch.domain is None else batch.domain[:: self.m]
        return Batch(**packed, domain=domain)

    def packed(self, x: Tensor) -> Tensor:
        return x.reshape(len(x) // self.m, self.m * x.shape[1], *x.shape[2:])
