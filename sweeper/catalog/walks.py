"""Walks: the ways from latents a to latents b (..., size), at times t from 0 to 1, (..., 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from sweeper.catalog.families import walks
from sweeper.registry import Law


@walks.register(
    paper="white2016",
    warns={Law("cube", "latents of a cube lie on no sphere, and the arc may leave it")},
)
def slerp_interpolation(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From one latent to another along the great circle through both.

    slerp(t) = sin((1 - t)θ)/sin θ · a + sin(tθ)/sin θ · b, θ the angle between a and b; where
    sin θ < 10⁻⁶, at angles of 0 and π, it is the straight way.
    """
    cosine = torch.cosine_similarity(a, b, dim=-1).clamp(-1, 1)[..., None]
    theta = torch.arccos(cosine)
    sine = torch.sin(theta)
    arc = torch.sin((1 - t) * theta) / sine * a + torch.sin(t * theta) / sine * b
    return torch.where(sine < 1e-6, lerp_interpolation(a, b, t), arc)


@walks.register(
    warns={Law("shell", "halfway it is nearer to the origin than any latent that G knows")}
)
def lerp_interpolation(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """From one latent to another on the straight line, (1 - t) a + t b."""
    return torch.lerp(a, b, t)
