"""How a generator is told of classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def told(z: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Latents (N, K) with each label as a one-hot beside them: (N, K + classes).

    Raises ValueError when there are classes and no labels.
    """
    if not classes:
        return z
    if label is None:
        raise ValueError(f"a generator of {classes} classes is told a label for every latent")
    return torch.cat([z, one_hot(label, classes).to(z.dtype)], dim=1)
