"""The divergence that the first GAN minimises, between histograms of points."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.registry import Integers


@metrics.register(paper="goodfellow2014", needs={"points"})
def js_divergence_toy(
    compared: Compared, *, bins: Annotated[int, Ge(2), Integers(16, 64)] = 32
) -> dict[str, float]:
    """The Jensen-Shannon divergence, in nats, between histograms of real points and fakes.

    ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2 over ``bins`` in each of the first two
    dimensions, which reach as far as the points of both do: ln 2 where they share no bin, however
    near they are (Arjovsky and Bottou 2017).
    """
    real, fake = (side.examples[:, :2].double() for side in (compared.real, compared.fake))
    if not compared.finite or not min(len(real), len(fake)):
        return unknown("js_divergence_toy")
    both = torch.cat([real, fake])
    low, high = both.min(0).values, both.max(0).values
    p, q = (_shares(points, low, high, bins) for points in (real, fake))
    m = (p + q) / 2
    divergence = (torch.xlogy(p, p / m).nansum() + torch.xlogy(q, q / m).nansum()) / 2
    return {"js_divergence_toy": float(divergence)}


def _shares(points: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    width = (high - low).clamp(min=torch.finfo(torch.float64).tiny)
    places = ((points - low) / width * bins).long().clamp(0, bins - 1)
    flat = places @ bins ** torch.arange(places.shape[1])
    counts = torch.bincount(flat, minlength=bins ** places.shape[1]).double()
    return counts / counts.sum()
