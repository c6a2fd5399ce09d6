"""Other views of the same images, for penalties on how much D's score depends on the view."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sweeper.catalog.scores import of_examples
from sweeper.game import ALONE, Batch, Ranks, Turn


def inconsistency(turn: Turn, batch: Batch, scores: Tensor, purpose: str) -> Tensor:
    """E(D(x) - D(T(x)))², given the scores D(x) of a batch; T flips and shifts at random. Since T
    moves patches, D is their mean score where it scores those."""
    seen = batch.image.detach()
    progress = turn.progress
    other = batch.showing(flipped_and_shifted(seen, progress.random[purpose], progress.ranks))
    return (of_examples(scores) - of_examples(turn.score(other).scores)).square().mean()


def flipped_and_shifted(x: Tensor, random: torch.Generator, ranks: Ranks = ALONE) -> Tensor:
    """Images (N, C, H, W), each mirrored left to right or not, then shifted by whole pixels, up to
    an eighth of its sides each way; what comes in at the edges mirrors what is there."""
    n, _, height, width = x.shape
    flip = ranks.drawn(n, lambda n: torch.randint(2, (n, 1), generator=random, device=x.device))
    rows, columns = (
        ranks.drawn(n, partial(shifted, size=size, random=random, device=x.device))
        for size in (height, width)
    )
    columns = torch.where(flip == 1, width - 1 - columns, columns)
    each = torch.arange(n, device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def shifted(n: int, size: int, random: torch.Generator, device: torch.device) -> Tensor:
    """For each of ``n`` images, which of ``size`` rows comes to stand where: (n, size)."""
    most = size // 8
    by = torch.randint(-most, most + 1, (n, 1), generator=random, device=device)
    at = (torch.arange(size, device=device) + by).abs()
    return size - 1 - (size - 1 - at).abs()
