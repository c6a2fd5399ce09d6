"""What the summaries of a minibatch have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from sweeper.registry import Law

MIXED = Law("mixed_batch", "real examples and fakes are compared with each other, too")


def beside(h: Tensor, values: Tensor) -> Tensor:
    """Activations (N, C, ...) with some values of each example (N, K) as channels beside them:
    (N, C + K, ...), each value being the same all over its channel."""
    space = h.shape[2:]
    return torch.cat(
        [h, values.reshape(*values.shape, *[1] * len(space)).expand(-1, -1, *space)], 1
    )
