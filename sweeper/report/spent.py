"""What a budget buys: the best score that searches of so much training come to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeper.ledger.ledger import BROKEN, ENDED
from sweeper.report.ranking import Sweep

TIMES, POINTS, ENOUGH = 1000, 60, 5
"""Searches that are made up, budgets that they are looked at, and trials that it takes."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """The best score so far of searches by the images that they have trained on: the median of all,
    and where 95 % of them are. ``images`` begins where 95 % have come to a score."""

    images: Numbers
    median: Numbers
    low: Numbers
    high: Numbers


def band(sweep: Sweep) -> Band | None:
    """The band of searches that try trials of this one, each drawn from all of them, so that their
    order plays no part; what was stopped early costs what it cost. None with too few trials."""
    ran = [
        t
        for t in sweep.trials
        if t.get("of") is None and t["baseline"] is None and t["state"] in ENDED and t["images"]
    ]
    scores = [math.inf if t["score"] is None or t["state"] in BROKEN else t["score"] for t in ran]
    if sum(map(math.isfinite, scores)) < ENOUGH:
        return None
    return resampled(np.array([t["images"] for t in ran], float), np.array(scores))


def resampled(costs: Numbers, scores: Numbers) -> Band | None:
    """The same of trials with these costs and scores, where one without a score has infinity."""
    drawn = np.random.default_rng(0).integers(len(costs), size=(TIMES, len(costs)))
    spent, best = costs[drawn].cumsum(axis=1), np.minimum.accumulate(scores[drawn], axis=1)
    budgets = np.linspace(0, costs.sum(), POINTS + 1)[1:]
    ended = np.stack([np.searchsorted(row, budgets, side="right") for row in spent])
    so_far = np.concatenate([np.full((TIMES, 1), np.inf), best], axis=1)
    found = np.take_along_axis(so_far, ended, axis=1)
    # An infinite value has no place between others, so that one of them is taken.
    low, median, high = np.quantile(found, [0.025, 0.5, 0.975], axis=0, method="higher")
    known = np.isfinite(high)
    if not known.any():
        return None
    return Band(budgets[known], median[known], low[known], high[known])
