"""What other settings of early stopping would have made of a sweep whose curves are known: how much
compute they save, and how much worse is what they find."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from sweeper.ledger.names import lined
from sweeper.space.source import InputError
from sweeper.sweep.recorded import Curve, Recorded
from sweeper.sweep.rungs import Plateau, Rungs, rungs_of

RESAMPLES = 200
ORDERS = 5
"""Sweeps of each resample, since who comes first to a rung is chance."""


@dataclass(frozen=True)
class Setting:
    """How trials are stopped: as a space's ``budget.rungs`` has it."""

    first: float
    factor: int
    by: str | None = None
    plateau: Plateau | None = None

    def levels(self, parts: int) -> tuple[int, ...]:
        """The rungs, in parts of a budget."""
        return rungs_of(parts, 1, self.first, self.factor)


@dataclass(frozen=True)
class Estimate:
    """A mean over sweeps, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """What a setting comes to: its compute, as a share of that without early stopping; by how much
    the best score that it finds is worse than the best there is; and how often it is not."""

    setting: Setting
    compute: Estimate
    regret: Estimate
    found: float


@dataclass(frozen=True)
class Run:
    """One sweep: what it cost, and the best score of a trial that did not break."""

    cost: float
    best: float


def settings(
    known: Recorded,
    firsts: Sequence[str],
    graces: Sequence[float],
    factors: Sequence[int],
    bys: Sequence[str],
    plateaus: Sequence[str],
) -> list[Setting]:
    """Every one of these beside every other, as they are typed: 1/9 of the budget, or a grace in
    thousands of images; a choice, or none; 3:0.01 for a plateau, or none. Raises InputError."""
    begins = [_share(text) for text in firsts]
    begins += [1000 * grace / known.horizon for grace in graces]
    among = [None if by == "none" else by for by in bys] or [known.by]
    for by in among:
        if by is not None and not any(by in curve.params for curve in known.curves):
            names = sorted({name for curve in known.curves for name in curve.params})
            law = f"trials are judged among those of a parameter, but {by} is none of them"
            raise InputError([f"--by: {law}: {', '.join(names) or 'there are none'}"])
    ends = [_plateau(text) for text in plateaus] or [None]
    begins = begins or [1 / 9, 2 / 9, 1 / 3]
    return [Setting(*each) for each in product(begins, factors or [2, 3, 4], among, ends)]


def _share(text: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        share = 0.0
    if not 0 < share < 1:
        law = "the first rung is at a share of the budget, such as 1/9"
        raise InputError([f"--first: {law}, but got {text}"])
    return share


def _plateau(text: str) -> Plateau | None:
    if text == "none":
        return None
    patience, _, tolerance = text.partition(":")
    try:
        plateau = Plateau(int(patience), float(tolerance))
    except ValueError:
        plateau = Plateau(0, 0.0)
    if plateau.patience < 1 or not 0 <= plateau.tolerance < 1:
        law = "a plateau is so many evaluations, and a share that the score fell by in them"
        raise InputError([f"--plateau: {law}, such as 3:0.01, but got {text}"])
    return plateau


def replays(
    known: Recorded, tried: Sequence[Setting], trials: int, concurrent: int, seed: int
) -> list[Outcome]:
    """What each setting comes to, in sweeps of so many of the known trials, drawn with replacement,
    in any order, some at a time. All settings are given the same sweeps."""
    found: list[list[tuple[float, float]]] = [[] for _ in tried]
    for curves in resampled(known.curves, trials, seed):
        whole = sum(curve.costs[-1] for curve in curves)
        best = min((c.bests[-1] for c in curves if not c.broken), default=float("nan"))
        for setting, pairs in zip(tried, found, strict=True):
            ran = run(curves, setting, known.parts, concurrent)
            pairs.append((ran.cost / whole, ran.best / best - 1))
    return [outcome(setting, pairs) for setting, pairs in zip(tried, found, strict=True)]


def resampled(curves: Sequence[Curve], trials: int, seed: int) -> Iterator[list[Curve]]:
    """Sweeps: each resample of the trials in several orders, one after the other."""
    random = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        drawn = random.integers(len(curves), size=trials)
        for _ in range(ORDERS):
            yield [curves[i] for i in random.permutation(drawn)]


def run(curves: Sequence[Curve], setting: Setting, parts: int, concurrent: int) -> Run:
    """A sweep of these trials in their order, so many at a time, each measured when its cost says
    so."""
    rungs = Rungs(setting.levels(parts), setting.factor, setting.plateau)
    live = [(curve.costs[0], trial, 0) for trial, curve in enumerate(curves[:concurrent])]
    heapq.heapify(live)
    begun, cost, best = len(live), 0.0, float("inf")
    while live:
        now, trial, k = heapq.heappop(live)
        curve, judged = curves[trial], k < len(curves[trial].bests)
        bracket = curve.params.get(setting.by) if setting.by else None
        goes_on = judged and rungs.judge(trial, curve.stages[k], curve.bests[k], bracket=bracket)
        if goes_on and k + 1 < len(curve.costs):
            heapq.heappush(live, (now + curve.costs[k + 1] - curve.costs[k], trial, k + 1))
            continue
        cost += curve.costs[k]
        if judged and not (goes_on and curve.broken):
            best = min(best, curve.bests[k])
        if begun < len(curves):
            heapq.heappush(live, (now + curves[begun].costs[0], begun, 0))
            begun += 1
    return Run(cost, best)


def outcome(setting: Setting, pairs: Sequence[tuple[float, float]]) -> Outcome:
    """The means of compute and regret, and how far they go in resamples of the trials."""
    compute, regret = np.array(pairs).T
    return Outcome(setting, _estimate(compute), _estimate(regret), float(np.mean(regret <= 0)))


def _estimate(values: Any) -> Estimate:
    means = values.reshape(RESAMPLES, -1).mean(1)
    low, high = np.nanquantile(means, (0.025, 0.975))
    return Estimate(float(np.nanmean(means)), float(low), float(high))


def lines(known: Recorded, outcomes: Sequence[Outcome], trials: int) -> Iterator[str]:
    """A table of what each setting comes to, the cheapest last, and what it was measured on."""
    rows = [["first", "factor", "by", "plateau", "compute", "regret", "the best is found in"]]
    for each in sorted(outcomes, key=lambda outcome: -outcome.compute.mean):
        plateau = each.setting.plateau
        rows.append(
            [
                _written(each.setting.first),
                str(each.setting.factor),
                each.setting.by or "none",
                f"{plateau.patience}:{plateau.tolerance:g}" if plateau else "none",
                _percent(each.compute),
                _percent(each.regret),
                f"{each.found:.0%}",
            ]
        )
    yield from lined(rows)
    sweeps = f"{RESAMPLES * ORDERS:,} sweeps of {trials} trials, drawn from {len(known.curves)}"
    yield f"means over {sweeps}, with 95 % bootstrap intervals; compute in {known.unit}"
    if left := known.all - len(known.curves):
        yield f"{left} of {known.all} trials were stopped early, and are left out"


def plain(known: Recorded, outcomes: Sequence[Outcome], trials: int) -> Mapping[str, Any]:
    """The same as JSON-compatible data."""
    return {
        "schema": 1,
        "known": len(known.curves),
        "trials": trials,
        "left_out": known.all - len(known.curves),
        "unit": known.unit,
        "sweeps": RESAMPLES * ORDERS,
        "settings": [asdict(outcome) for outcome in outcomes],
    }


def _written(share: float) -> str:
    """A share as a fraction, if it is one that somebody would write."""
    near = Fraction(share).limit_denominator(100)
    return str(near) if abs(float(near) - share) < 1e-9 else f"{share:.3g}"


def _percent(estimate: Estimate) -> str:
    low, high = f"{100 * estimate.low:.1f}", f"{100 * estimate.high:.1f}"
    return f"{100 * estimate.mean:.1f} % ({low} to {high})"
