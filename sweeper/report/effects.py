"""What each choice does to the score: effects with their intervals, from the trials of a sweep.

The score is the logarithm of the best one so far, at the same share of the budget for all, so that
an effect is a percentage. A trial that broke has none, and counts among the failures.

There are two estimates. That of the balanced design needs no model, since there each option stands
beside the same others. That of all trials is a linear model of everything that was searched: the
search tries good options with other good ones, and what those do is not put down to it
(Bouthillier et al. 2021, arXiv 2103.03098, on why an optimizer's samples mislead).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.names import lined, short_names
from sweeper.report import text
from sweeper.report.design import Array, Contrast, Factor, factor, halves
from sweeper.report.ranking import Row, Sweep, baselines, load, ranking, value_of

SURE = 0.95
FREE = 6
"""Degrees of freedom that have to be left for the noise."""
ENOUGH = 8
"""Trials that there have to be for any estimate."""
MOST = 1000
"""More trials than these are not asked for."""
BROKE = 12
"""Options that broke, shown at most."""
POWER = 0.8
"""With what chance the trials asked for would show an effect that is there."""


@dataclass(frozen=True)
class Estimate:
    """A difference of log scores, its standard error, and the degrees of freedom of that."""

    difference: float
    error: float
    free: int
    trials: int

    @cached_property
    def half(self) -> float:
        """Half of its interval at 95 %."""
        return self.error * _quantile((1 + SURE) / 2, self.free)

    @cached_property
    def chance(self) -> float:
        """How often noise alone comes to as much: a p-value, of two sides."""
        from scipy.stats import t

        if self.error == 0:
            return 0.0 if self.difference else 1.0
        return float(2 * t.sf(abs(self.difference) / self.error, self.free))

    @property
    def percent(self) -> tuple[float, float, float]:
        """The change of the score in percent, and its interval: below 0 is better."""
        low, high = self.difference - self.half, self.difference + self.half
        middle, least, most = (100 * math.expm1(min(x, 50)) for x in (self.difference, low, high))
        return middle, least, most

    @property
    def more(self) -> int:
        """How many more trials such an effect would take to be seen in four of five sweeps."""
        needed = self.error * (_quantile((1 + SURE) / 2, self.free) + _quantile(POWER, self.free))
        if abs(self.difference) * math.sqrt(MOST) < needed * math.sqrt(self.trials):
            return MOST
        ratio = needed / self.difference
        return max(1, math.ceil(self.trials * (ratio * ratio - 1)))


@dataclass(frozen=True)
class Effect:
    """What it does to choose ``then`` instead of another value of a parameter.

    ``adjusted`` is its p-value among all effects of the sweep, by Holm: where it is below 5 %, the
    effect is called one.
    """

    name: str
    then: str
    instead: str
    all: Estimate | None
    balanced: Estimate | None
    adjusted: float = 1.0

    @property
    def estimate(self) -> Estimate | None:
        """That of all trials; of the balanced design where those are too few for the model."""
        return self.all or self.balanced

    @property
    def sure(self) -> bool:
        return self.adjusted < 1 - SURE

    @property
    def says(self) -> str:
        """Its verdict in words."""
        found = self.estimate
        if found is None:
            return "not enough evidence: it was not tried apart from other choices"
        if self.sure:
            return "better" if found.difference < 0 else "worse"
        if found.chance < 1 - SURE:
            return "not enough evidence: among so many effects one is as large by chance"
        more = f"{MOST:,} or" if found.more >= MOST else f"about {found.more:,}"
        return f"not enough evidence: {more} more trials would show an effect of this size"


@dataclass(frozen=True)
class Interaction:
    """Two parameters whose effects depend on each other. The factor on the score of choosing
    ``then`` of the first is so many ``times`` as large where the second is ``beside`` as where it
    is ``without``; ``adjusted`` is its p-value by Holm among all pairs."""

    first: str
    second: str
    then: str
    instead: str
    beside: str
    without: str
    times: float
    adjusted: float

    def says(self, short: Mapping[str, str]) -> str:
        """The same in words."""
        first, second = short[self.first], short[self.second]
        return (
            f"{first} {self.then} instead of {self.instead}: its factor on the score is "
            f"{text.score(self.times)} times as large with {second} {self.beside} as with "
            f"{second} {self.without}"
        )


@dataclass(frozen=True)
class Failing:
    """How often trials with an option broke, with an interval (Clopper and Pearson), and its
    p-value against all other options by Holm (Fisher's exact test)."""

    name: str
    option: str
    broken: int
    trials: int
    low: float
    high: float
    adjusted: float


@dataclass(frozen=True)
class Effects:
    """All that a sweep says about its choices. ``share`` is the part of the budget that all trials
    of its search came to, where they are compared; ``trials`` how many of them, ``balanced`` how
    many of the balanced design, and ``needed`` how many the plainest model of all of them takes."""

    share: float
    trials: int
    needed: int
    balanced: int
    effects: list[Effect]
    interactions: list[Interaction]
    failing: list[Failing]

    @property
    def found(self) -> list[Effect]:
        """The effects, those that are sure first, and the largest of them."""

        def rank(effect: Effect) -> tuple[bool, float]:
            found = effect.estimate
            return not effect.sure, -abs(found.difference) if found is not None else math.inf

        return sorted(self.effects, key=rank)


def effects(sweep: Sweep) -> Effects:
    """The effects of a sweep's choices. Raises MixedError where scores are of several protocols."""
    ranking(sweep.trials)
    searched = [
        t for t in sweep.trials if _searched(t) and t["state"] not in ("running", "pending")
    ]
    sound = [t for t in searched if t["state"] not in BROKEN and sweep.measured(t)]
    share = min((_share(sweep, t, t["images"]) for t in sound), default=0.0)
    scores = {t["trial"]: _mean(sweep, t, share) for t in sound}
    counted = [t for t in sound if scores[t["trial"]] is not None]
    y = np.array([scores[t["trial"]] for t in counted], dtype=float)
    model = _Model(sweep, counted, y)
    rows = [i for i, t in enumerate(counted) if t.get("role") == "balanced"]
    mains = _mains(model, _Model(sweep, [counted[i] for i in rows], y[rows]))
    failing = _failing(sweep, searched)
    return Effects(
        share, len(counted), model.needed, len(rows), mains, _interactions(model), failing
    )


def _searched(trial: Row) -> bool:
    return trial["baseline"] is None and (trial.get("role") or "search") in ("balanced", "search")


def _share(sweep: Sweep, trial: Row, images: int) -> float:
    """Images as a share of the trial's own horizon."""
    own = json.loads(trial["config"] or "{}").get("horizon_kimg")
    return images / (1000 * own if own else sweep.horizon)


def _mean(sweep: Sweep, trial: Row, share: float) -> float | None:
    """The log of the best score at a share of the budget, averaged over the seeds of a trial."""
    again = [t for t in sweep.trials if t.get("role") == "repeat" and t["of"] == trial["trial"]]
    found = []
    for run in [trial, *again]:
        reached = [
            m["best"]
            for m in sweep.measured(run)
            if m["best"] is not None and _share(sweep, run, m["images"]) <= share * (1 + 1e-9)
        ]
        if reached and _share(sweep, run, run["images"]) >= share * (1 - 1e-9):
            found.append(math.log(max(reached[-1], 1e-12)))
    return math.fsum(found) / len(found) if found else None


class _Model:
    """A linear model of the log score by what was searched, over some trials."""

    def __init__(self, sweep: Sweep, trials: Sequence[Row], y: Array) -> None:
        self.y, self.n = y, len(trials)
        base = next(iter(baselines(sweep.trials)), None)
        self.specs = sweep.parameters
        self.values = {s["name"]: [value_of(t, s["name"]) for t in trials] for s in self.specs}
        self.usual = {s["name"]: base and value_of(base, s["name"]) for s in self.specs}

    @cached_property
    def factors(self) -> list[Factor]:
        """All that was searched, with ranges as curves where there are trials enough; none where
        there are too few for the plainest model."""
        curved, straight = (self._factors(curved=c) for c in (True, False))
        fits = (some for some in (curved, straight) if self._free(some) >= FREE)
        return next(fits, [])

    @property
    def needed(self) -> int:
        """How many trials the plainest model takes, once every option was tried."""
        return 1 + FREE + sum(max(len(s.get("choices", ())) - 1, 1) for s in self.specs)

    def _factors(self, *, curved: bool) -> list[Factor]:
        made = (
            factor(s, self.values[s["name"]], self.usual[s["name"]], curved=curved)
            for s in self.specs
        )
        return [one for one in made if one is not None]

    def _free(self, factors: Sequence[Factor]) -> int:
        return self.n - 1 - sum(int(one.columns.shape[1]) for one in factors)

    @cached_property
    def matrix(self) -> Array:
        return np.hstack([np.ones((self.n, 1)), *(one.columns for one in self.factors)])

    def estimates(self) -> Iterator[tuple[str, Contrast, Estimate | None]]:
        """Every contrast, by least squares over everything that was searched."""
        if not self.factors:
            return
        fit, at = Fit(self.matrix, self.y), 1
        for one in self.factors:
            for contrast in one.contrasts:
                weights = np.zeros(self.matrix.shape[1])
                weights[at : at + len(contrast.weights)] = contrast.weights
                yield one.name, contrast, fit.estimate(weights)
            at += one.columns.shape[1]

    def apart(self) -> Iterator[tuple[str, Contrast, Estimate | None]]:
        """Every contrast by itself, as a balanced design allows: means against means."""
        for spec in self.specs:
            name = spec["name"]
            one = halves(spec, self.values[name], self.usual[name])
            if one is None or self.n < ENOUGH:
                continue
            fit = Fit(np.hstack([np.ones((self.n, 1)), one.active[:, None], one.columns]), self.y)
            for contrast in one.contrasts:
                yield name, contrast, fit.estimate(np.concatenate([[0.0, 0.0], contrast.weights]))


class Fit:
    """Least squares, by the columns that the trials tell apart."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x = x
        left, sizes, self.axes = np.linalg.svd(x, full_matrices=False)
        self.rank = int((sizes > 1e-9 * sizes[0]).sum())
        self.axes = self.axes[: self.rank]
        self.scaled = self.axes / sizes[: self.rank, None]
        along = left[:, : self.rank].T @ y
        self.beta = along @ self.scaled
        self.n, self.free = len(y), len(y) - self.rank
        self.squares = max(float(y @ y - along @ along), 0.0)

    def estimate(self, weights: Array) -> Estimate | None:
        """A linear combination of the coefficients; None where the trials do not determine it."""
        if self.free < 2 or not np.allclose(weights @ self.axes.T @ self.axes, weights, atol=1e-6):
            return None
        spread = self.squares / self.free * float(np.square(self.scaled @ weights).sum())
        return Estimate(float(weights @ self.beta), math.sqrt(spread), self.free, self.n)


def _mains(whole: _Model, design: _Model) -> list[Effect]:
    alone = {(name, c.then, c.instead): e for name, c, e in design.apart()}
    everywhere = {(name, c.then, c.instead): e for name, c, e in whole.estimates()}
    found = [
        Effect(*key, all=everywhere.get(key), balanced=alone.get(key))
        for key in dict.fromkeys([*everywhere, *alone])
    ]
    chances = [e.estimate.chance if e.estimate is not None else 1.0 for e in found]
    return [replace(e, adjusted=p) for e, p in zip(found, holm(chances), strict=True)]


def _interactions(model: _Model) -> list[Interaction]:
    """The pairs of parameters whose effects depend on each other, the surest first."""
    from scipy.stats import f

    if not model.factors:
        return []
    plain = Fit(model.matrix, model.y)
    tested = []
    for first, second in combinations(model.factors, 2):
        products = first.columns[:, :, None] * second.columns[:, None, :]
        x = np.hstack([model.matrix, products.reshape(model.n, -1)])
        fit = Fit(x, model.y)
        more = fit.rank - plain.rank
        if more and fit.free >= FREE and fit.squares > 0:
            ratio = (plain.squares - fit.squares) / more / (fit.squares / fit.free)
            tested.append((float(f.sf(ratio, more, fit.free)), first, second, fit))
    adjusted = holm([chance for chance, *_ in tested])
    named = [
        _named(first, second, fit, chance)
        for chance, (_, first, second, fit) in zip(adjusted, tested, strict=True)
        if chance < 1 - SURE
    ]
    return sorted((one for one in named if one is not None), key=lambda one: one.adjusted)


def _named(first: Factor, second: Factor, fit: Fit, chance: float) -> Interaction | None:
    """An interaction by the two choices that show it most clearly."""
    shown = []
    for one in first.contrasts:
        for other in second.contrasts:
            weights = np.zeros(fit.x.shape[1])
            product = np.outer(one.weights, other.weights).ravel()
            weights[-len(product) :] = product
            if (found := fit.estimate(weights)) is not None:
                shown.append((found.chance, one, other, found.difference))
    if not shown:
        return None
    _, one, other, difference = min(shown, key=lambda each: each[0])
    words = (one.then, one.instead, other.then, other.instead)
    return Interaction(first.name, second.name, *words, math.exp(min(difference, 50)), chance)


def _failing(sweep: Sweep, searched: Sequence[Row]) -> list[Failing]:
    """How often each option broke, of those parameters where any did; the worst first."""
    from scipy.stats import beta, fisher_exact

    found = []
    for spec in sweep.parameters:
        if spec["kind"] != "choice":
            continue
        runs: dict[str, list[bool]] = {}
        for trial in searched:
            if (value := value_of(trial, spec["name"])) is not None:
                runs.setdefault(text.value(value, 40), []).append(trial["state"] in BROKEN)
        bad, every = sum(map(sum, runs.values())), sum(map(len, runs.values()))
        for option, broken in runs.items():
            k, n = sum(broken), len(broken)
            if k == 0 or len(runs) < 2:
                continue
            low = float(beta.ppf(0.025, k, n - k + 1))
            high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
            table = [[k, n - k], [bad - k, every - n - (bad - k)]]
            chance = float(fisher_exact(table).pvalue)
            found.append(Failing(spec["name"], option, k, n, low, high, chance))
    adjusted = holm([one.adjusted for one in found])
    told = [replace(one, adjusted=p) for one, p in zip(found, adjusted, strict=True)]
    return sorted(told, key=lambda one: (one.adjusted, -one.broken / one.trials))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values among as many tests as there are (Holm 1979, Scand. J. Statist. 6)."""
    adjusted, least = [0.0] * len(chances), 0.0
    for rank, i in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        least = max(least, min(1.0, chances[i] * (len(chances) - rank)))
        adjusted[i] = least
    return adjusted


def _quantile(share: float, free: int) -> float:
    from scipy.stats import t

    return float(t.ppf(share, free))


def effects_lines(folder: Path) -> list[str]:
    """The effects as a table, and what else is to be said of them."""
    sweep = load(folder)
    found = effects(sweep)
    short = short_names([spec["name"] for spec in sweep.parameters])
    lines = [*introduction(sweep, found)]
    if found.effects:
        design = found.balanced >= ENOUGH
        head = ["parameter", "choice", "instead of", f"{sweep.plan['metric']} by"]
        rows = [
            [short[e.name], e.then, e.instead, change(e.estimate)]
            + [change(e.balanced)] * design
            + [e.says]
            for e in found.found
        ]
        lines += ["", *lined([[*head, *["balanced design"] * design, ""], *rows])]
    if found.interactions:
        lines += ["", "What depends on each other:"]
        lines += [f"  {one.says(short)}" for one in found.interactions]
    if found.failing:
        head = ["option", "broke", "of", "share", "95 %", ""]
        cells = (failing_cells(one, short) for one in found.failing[:BROKE])
        lines += ["", *lined([head, *cells])]
    return lines


def introduction(sweep: Sweep, found: Effects) -> list[str]:
    """What the effects are estimated from, in sentences."""
    if not found.effects:
        law = f"these effects take {found.needed} trials of the search that did not break"
        design = f"or {ENOUGH} of a balanced design (search.balanced)"
        return [f"Not enough evidence: {law}, {design}, but there are {found.trials}."]
    budget = f"after {text.percent(found.share)} of the budget, which all of them came to"
    said = [f"{found.trials} trials of the search, compared by their best score {budget}."]
    if found.balanced:
        said.append(
            f"{found.balanced} of them are a balanced design, which says the same without a model."
        )
    if found.share < 0.5:
        said.append("What shows only later in training is not among these effects.")
    return said


def change(estimate: Estimate | None) -> str:
    """An effect in percent with its interval: ``-12 % [-20, -3]``."""
    if estimate is None:
        return text.NONE
    middle, low, high = (round(min(x, 9999.0)) for x in estimate.percent)
    return f"{middle:+,} % [{low:+,}, {high:+,}]"


def failing_cells(one: Failing, short: dict[str, str]) -> list[str]:
    """A row of the table of failures."""
    share = f"{text.percent(one.broken / one.trials)}"
    interval = f"{text.percent(one.low)} to {text.percent(one.high)}"
    option = f"{short[one.name]}={one.option}"
    sure = "more often than others" if one.adjusted < 1 - SURE else ""
    return [option, str(one.broken), str(one.trials), share, interval, sure]


def shown(sweep: Sweep) -> dict[str, Any] | None:
    """The effects as the report shows them; None of a sweep that searched nothing."""
    if not sweep.parameters or not any(map(_searched, sweep.trials)):
        return None
    found = effects(sweep)
    short = short_names([spec["name"] for spec in sweep.parameters])
    widest = max((_reach(e) for e in found.effects), default=0.0) or 1.0
    return {
        "sentences": introduction(sweep, found),
        "rows": [
            {
                "name": e.name,
                "short": short[e.name],
                "then": e.then,
                "instead": e.instead,
                "all": change(e.estimate),
                "balanced": change(e.balanced),
                "bar": _bar(e, widest),
                "colour": "grey" if not e.sure else "good" if e.says == "better" else "bad",
                "says": e.says,
            }
            for e in found.found
        ],
        "design": found.balanced >= ENOUGH,
        "interactions": [one.says(short) for one in found.interactions],
        "failing": [failing_cells(one, short) for one in found.failing[:BROKE]],
    }


def _reach(effect: Effect) -> float:
    """How far its interval goes from 0, but for those that say next to nothing."""
    found = effect.estimate
    return 0.0 if found is None else min(abs(found.difference) + found.half, math.log(4))


def _bar(effect: Effect, widest: float) -> tuple[float, float, float] | None:
    """Where its interval and its middle stand on a line of 120 pixels."""
    if (found := effect.estimate) is None:
        return None
    ends = (found.difference + by for by in (-found.half, 0.0, found.half))
    low, middle, high = (60 + 56 * min(max(end / widest, -1.05), 1.05) for end in ends)
    return round(low, 1), round(middle, 1), round(high, 1)


def effects_json(folder: Path) -> str:
    """The same as JSON: differences of log scores, and percentages."""
    found = effects(load(folder))
    plain: dict[str, Any] = {"schema": 1, **asdict(found)}
    for written, effect in zip(plain["effects"], found.effects, strict=True):
        written |= {"sure": effect.sure, "says": effect.says}
        for name in ("all", "balanced"):
            estimate: Estimate | None = getattr(effect, name)
            if estimate is not None:
                written[name] |= {"percent": estimate.percent, "p": estimate.chance}
    return json.dumps(plain, indent=2)
