"""What a metric may look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One side of a comparison: examples as the networks see them, images (n, C, H, W) in [-1, 1]
    or points (n, K); their features (n, d); their labels (n,), if they have any; and the logits
    (n, classes) of the network that gave the features, if it is a classifier."""

    examples: Tensor
    features: Tensor
    labels: Tensor | None = None
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class Wanted:
    """What fakes were made from and should have become, in their order: targets (n, C, H, W) and,
    if there are any, sources (n, C', H, W), in [-1, 1], and masks (n, M, H, W), 1 inside."""

    target: Tensor
    source: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class Compared:
    """Real examples that were held out, and fakes; how many ``classes`` the labels have; where the
    ``centres`` (M, K) of a mixture in the plane are, and their ``deviation``; and a ``random``
    state for what a metric draws, fixed by the protocol.

    ``training`` has the examples that D was shown, for metrics that look for copies of them;
    ``wanted`` what each fake should have become, where it was made from what belongs to that.
    """

    real: Side
    fake: Side
    classes: int = 0
    centres: Tensor | None = None
    deviation: float = 0.0
    training: Side | None = None
    wanted: Wanted | None = None
    random: torch.Generator = field(default_factory=torch.Generator)

    @property
    def finite(self) -> bool:
        """Whether every example and every feature on both sides is a finite number."""
        sides = (self.real.examples, self.real.features, self.fake.examples, self.fake.features)
        return all(bool(held.isfinite().all()) for held in sides)

    def votes(self, side: Side) -> Tensor | None:
        """The class (n,) that a classifier of the data's own classes takes examples for."""
        if side.logits is None or side.logits.shape[1] != self.classes:
            return None
        return side.logits.argmax(1)

    def some(self, side: Side, n: int) -> Tensor:
        """The indices of at most ``n`` examples of a side, drawn without replacement."""
        return torch.randperm(len(side), generator=self.random)[:n]


def unknown(*names: str) -> dict[str, float]:
    """What a metric returns where its values cannot be had."""
    return dict.fromkeys(names, float("nan"))
