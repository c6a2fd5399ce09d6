"""The health of a sweep: what its trials say about the search itself, by rules, while it runs and
afterwards.

A rule speaks only where chance would seldom make it: each is tested on sweeps that have what it
looks for, and on others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeper.ledger.confirmed import TINY, Means
from sweeper.ledger.ledger import BROKEN, ENDED, Record
from sweeper.ledger.names import format_value, short_names
from sweeper.ledger.ranges import number, place, places

RARE = 0.01
"""How often chance alone may make a rule speak."""
FIFTH = 0.6
"""Beyond this place, from -1 to 1, a value is in the outer fifth of its range."""
SEEN = 12
"""Ended trials before a sweep is judged by them."""
CURVES = 8
"""Trials that have to have come to the end before rungs are judged by them."""
FEW = 3
"""Trials below which a correlation says nothing at all."""
AGREE = 0.5
"""A rung whose scores agree less with the final ones stops the wrong trials."""
SEEDS = 4
"""Degrees of freedom that the noise between seeds has to be known by."""
REJECTED = 3
"""Laws that draws may break for each trial that is made."""
ALWAYS = 4
"""Trials with an option that all have to break before it is said that it always does."""

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a rule says of a sweep, and what to do."""

    rule: str
    says: str
    advice: str


@dataclass(frozen=True)
class Seen:
    """A trial as the rules see it; ``curve`` is the best score after so many images."""

    number: int
    of: int | None
    role: str
    baseline: str | None
    state: str
    score: float | None
    params: Mapping[str, Any]
    curve: Sequence[tuple[int, float]]

    @classmethod
    def tells(cls, record: Record) -> Seen:
        """What a trial of the ledger shows."""
        curve = [(p.step, p.best) for p in record.curve if p.best is not None]
        about = (record.number, record.of, record.role, record.baseline, record.state)
        return cls(*about, record.score, record.params, curve)

    @property
    def searched(self) -> bool:
        return self.role in ("search", "balanced") and self.baseline is None

    @property
    def sound(self) -> bool:
        """Whether it has ended, with a score that counts."""
        return self.state in ENDED and self.state not in BROKEN and self.score is not None

    def log(self, images: float = math.inf) -> float | None:
        """The logarithm of the best score after so many images; None where it did not come so far,
        or was not measured by then."""
        reached = [best for at, best in self.curve if at <= images]
        if not reached or (images < math.inf and self.curve[-1][0] < images):
            return None
        return math.log(max(reached[-1], TINY))


def health(plan: Plan, trials: Iterable[Seen], counts: Mapping[str, int]) -> list[Finding]:
    """What there is to be said of a sweep, the most pressing first. ``counts`` are those of the
    ledger, of which ``rejected: LAW`` are draws that broke a law."""
    seen = list(trials)
    found: list[Finding] = []
    for rule in (_options, _rungs, _noise, _baseline, _edges):
        found += rule(plan, seen)
    return found + list(_rejected(seen, counts))


def _edges(plan: Plan, trials: Sequence[Seen]) -> Iterator[Finding]:
    """The best trials stand at the edge of a range."""
    from scipy.stats import binom

    sound = sorted((t for t in trials if t.searched and t.sound), key=lambda t: t.score or 0.0)
    if len(sound) < SEEN:
        return
    best = sound[: max(4, len(sound) // 5)]
    ranges = [spec for spec in plan["parameters"] if spec["kind"] != "choice"]
    short = short_names([spec["name"] for spec in plan["parameters"]])
    for spec in ranges:
        values = [number(trial.params.get(spec["name"])) for trial in best]
        there = np.array([place(spec, value) for value in values if value is not None])
        usual = places(spec)
        for edge, sign in (("upper", 1), ("lower", -1)):
            beyond, share = (
                int((sign * there >= FIFTH).sum()),
                float((sign * usual >= FIFTH).mean()),
            )
            if beyond and binom.sf(beyond - 1, len(there), share) < RARE / 2 / len(ranges):
                end = spec["high"] if sign > 0 else spec["low"]
                name = short[spec["name"]]
                says = f"{name} sits on the {edge} edge of its range: {beyond} of the best "
                says += f"{len(there)} trials are in its {edge} fifth"
                yield Finding("edge", says, f"widen its range beyond {format_value(end)}")


def _noise(plan: Plan, trials: Sequence[Seen]) -> Iterator[Finding]:
    """The trials of the search differ no more than the seeds of one configuration."""
    from scipy.stats import f

    searched = [trial for trial in trials if trial.searched and trial.sound]
    came = [trial.curve[-1][0] for trial in searched if trial.curve]
    if len(searched) < SEEN or not came:
        return
    runs: dict[int, list[float]] = {}
    for trial in trials:
        whole = trial.role in ("confirm", "repeat") or trial.baseline is not None
        if whole and trial.sound and (log := trial.log(min(came))) is not None:
            runs.setdefault(trial.number if trial.of is None else trial.of, []).append(log)
    seeds = Means(list(runs.values()))
    logs = [log for trial in searched if (log := trial.log(min(came))) is not None]
    if seeds.freedom < SEEDS or not seeds.deviation:
        return
    ratio = float(np.var(logs, ddof=1)) / seeds.deviation**2
    if f.sf(ratio, len(logs) - 1, seeds.freedom) > 0.05:
        noise = f"{100 * math.expm1(seeds.deviation):.0f} %"
        says = f"configurations cannot be told from seed noise, which is {noise} of the score"
        yield Finding("noise", says, "stop searching here: more seeds, more budget or other ranges")


def _rungs(plan: Plan, trials: Sequence[Seen]) -> Iterator[Finding]:
    """The scores at a rung say little of those at the end."""
    for k, rung in enumerate(plan.get("rungs", ()), 1):
        found = foretold(trials, rung)
        if found is not None and found.trials >= CURVES and found.among < AGREE:
            says = f"the rank correlation of rung {k} with the final score is {found.among:.2f}"
            yield Finding(
                "rungs", f"{says} over {found.trials} trials", "judge later: raise the grace"
            )
            return


@dataclass(frozen=True)
class Foretold:
    """How well the order at a rung is that at the end: Spearman's correlation over so many trials
    that were trained to the end, and what it is among all that were judged there."""

    trials: int
    correlation: float
    among: float


def foretold(trials: Sequence[Seen], rung: float) -> Foretold | None:
    """What a rung told of the end; None where fewer than three trials, or none that differ, say."""
    from scipy.stats import spearmanr

    once = [trial for trial in trials if trial.of is None and trial.sound]
    there = [log for trial in once if (log := trial.log(rung)) is not None]
    whole = [trial for trial in once if trial.state == "completed"]
    came = [(t, log) for t in whole if (log := t.log(rung)) is not None]
    early, final = [log for _, log in came], [t.log() for t, _ in came]
    if len(came) < FEW or len(set(early)) < 2 or len(set(final)) < 2:
        return None
    rank = float(spearmanr(early, final).statistic)
    return Foretold(len(came), rank, _among_all(rank, float(np.std(there)) / float(np.std(early))))


def _among_all(correlation: float, times: float) -> float:
    """A correlation among those that a rung let go on, as it is among all, whose scores there
    spread so many times as wide (Thorndike's second case)."""
    wide = correlation * max(times, 1.0)
    return wide / math.sqrt(1 - correlation**2 + wide**2)


def _baseline(plan: Plan, trials: Sequence[Seen]) -> Iterator[Finding]:
    """Nothing that was searched is as good as a baseline."""
    searched = [trial for trial in trials if trial.searched and trial.state in ENDED]
    best = min((t.score for t in searched if t.sound and t.score is not None), default=math.inf)
    bases = [t for t in trials if t.baseline is not None and t.of is None and t.sound]
    if len(searched) < SEEN or not bases:
        return
    base = min(bases, key=lambda trial: trial.score or 0.0)
    if base.score is not None and base.score <= best:
        says = f"no trial of {len(searched)} beats the baseline {base.baseline}"
        yield Finding("baseline", says, "centre the ranges on it, or search longer")


def _options(plan: Plan, trials: Sequence[Seen]) -> Iterator[Finding]:
    """Every trial with an option breaks, and others do not."""
    from scipy.stats import hypergeom

    ended = [trial for trial in trials if trial.searched and trial.state in ENDED]
    broken = sum(trial.state in BROKEN for trial in ended)
    short = short_names([spec["name"] for spec in plan["parameters"]])
    for spec in plan["parameters"]:
        states: dict[Any, list[bool]] = {}
        for trial in ended if spec["kind"] == "choice" else ():
            if (value := trial.params.get(spec["name"])) is not None:
                states.setdefault(value, []).append(trial.state in BROKEN)
        for option, broke in states.items():
            n = len(broke)
            if n >= ALWAYS and all(broke) and hypergeom.sf(n - 1, len(ended), broken, n) < RARE:
                says = (
                    f"{short[spec['name']]} {format_value(option)} broke in all of its {n} trials"
                )
                yield Finding("option", says, "leave it out, or search what it needs")


def _rejected(trials: Sequence[Seen], counts: Mapping[str, int]) -> Iterator[Finding]:
    """Most draws break a law."""
    laws = {k.partition(": ")[2]: n for k, n in counts.items() if k.startswith("rejected: ")}
    made, broken = sum(trial.searched for trial in trials), sum(laws.values())
    if made >= SEEN and broken > REJECTED * made:
        law = max(laws, key=lambda name: laws[name])
        says = f"draws broke laws {broken} times for {made} trials, most often: {law}"
        yield Finding("rejected", says, "narrow the space to what fits together")
