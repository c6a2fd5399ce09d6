"""D's scores, of which there is one for each example, (N,), or one for each patch of it, (N, P)."""

from __future__ import annotations

from torch import Tensor


def of_examples(scores: Tensor) -> Tensor:
    """The score of each example: the mean over its patches. (N,) or (N, P) to (N,)."""
    return scores if scores.ndim == 1 else scores.mean(1)


def along(values: Tensor, like: Tensor) -> Tensor:
    """One value for each row (N,), to stand beside rows of more dimensions: (N, 1, …)."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
