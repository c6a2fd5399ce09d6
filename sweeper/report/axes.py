"""What a budget can be read in: images, epochs, steps of D, steps of G and time; and whether the
winner is another one there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from sweeper.ledger.come import come
from sweeper.report import text
from sweeper.report.ranking import Row, Sweep

SLACK = 1.05
"""Trials are measured at intervals, so that what lies a little beyond a budget counts as within."""
APART = 0.02
"""Trials that were judged within this share of the axis were judged at one place."""


@dataclass(frozen=True)
class Axis:
    """One way of counting a trial's budget: ``at`` says where on it a measurement lies, ``key`` is
    its name in ``budget.axis``, and ``unit`` what stands behind its numbers."""

    key: str
    name: str
    unit: str
    at: Callable[[Row], float]

    def told(self, place: float) -> str:
        """A place on the axis, in words."""
        if self.key == "seconds":
            return text.duration(place)
        return f"{text.value(float(f'{place:.3g}'))} {self.unit}"


@dataclass(frozen=True)
class Winner:
    """Who is best within a budget, and what the winner on the sweep's own axis has there."""

    axis: Axis
    budget: float
    trial: Row
    score: float
    other: float | None = None


def axes(sweep: Sweep) -> list[Axis]:
    """The axes on which every measurement has a place; that of the sweep's budget comes first."""
    found = [Axis("kimg", "images", "kimg", lambda m: m["images"] / 1000)]
    if examples := _examples(sweep):
        found.append(Axis("epochs", "epochs", "epochs", lambda m: m["images"] / examples))
    found += [
        Axis("d_steps", "steps of D", "steps of D", lambda m: m["d_steps"]),
        Axis("g_steps", "steps of G", "steps of G", lambda m: m["g_steps"]),
        Axis("seconds", "time", "s", lambda m: m["seconds"]),
    ]
    own = sweep.plan.get("axis", "kimg")
    known = [axis for axis in found if axis.key in ("kimg", "epochs") or _known(sweep, axis.key)]
    return sorted(known, key=lambda axis: axis.key != own)


def rungs(sweep: Sweep, axis: Axis) -> list[tuple[int, float]]:
    """The numbers of rungs and where they are on an axis: those at which all trials were judged at
    one place there."""
    judged = [(t, stops(sweep, t)) for t in sweep.ranking]
    end = max((axis.at(m) for m in sweep.measurements), default=0.0)
    found = []
    for n, _ in enumerate(sweep.plan.get("rungs", []), 1):
        places = [axis.at(at[n - 1]) for _, at in judged if len(at) >= n]
        if places and max(places) - min(places) <= APART * end:
            found.append((n, math.fsum(places) / len(places)))
    return found


def stops(sweep: Sweep, trial: Row) -> list[Row]:
    """The measurements by which a trial was judged: the first at each rung or beyond."""
    config = json.loads(trial["config"] or "{}")
    places = [(come(sweep.plan, config, m["images"]), m) for m in sweep.measured(trial)]
    found = (
        next((m for place, m in places if place >= rung), None)
        for rung in sweep.plan.get("rungs", [])
    )
    return [m for m in found if m is not None]


def winners(sweep: Sweep) -> list[Winner]:
    """Who is best on each axis, within what every trial that was trained to the end has had there;
    nobody where fewer than two have been. The sweep's own axis comes first."""
    whole = [t for t in sweep.ranking if t["state"] == "completed" and sweep.measured(t)]
    if len(whole) < 2:
        return []
    found: list[Winner] = []
    for axis in axes(sweep):
        budget = min(axis.at(sweep.measured(trial)[-1]) for trial in whole)
        bests = {t["trial"]: _best(sweep, t, axis, budget) for t in sweep.ranking}
        trial = min(sweep.ranking, key=lambda t: bests[t["trial"]])
        first = found[0].trial if found else trial
        other = bests[first["trial"]]
        score = bests[trial["trial"]]
        found.append(Winner(axis, budget, trial, score, other if math.isfinite(other) else None))
    return found if all(math.isfinite(winner.score) for winner in found) else []


def warning(found: list[Winner]) -> str:
    """That the winner is another one on another axis, in a sentence; empty where it is not."""
    if not found:
        return ""
    own, *others = found
    changed = [w for w in others if w.trial["trial"] != own.trial["trial"]]
    if not changed:
        return ""
    told = "; ".join(
        f"by {w.axis.name} ({w.axis.told(w.budget)}) it is {name(w.trial)}" for w in changed
    )
    return f"The winner changes with the axis: by {own.axis.name} it is {name(own.trial)}, {told}."


def name(trial: Row) -> str:
    """A trial as it is called in the report: a baseline by its name."""
    return trial["name"] if trial["baseline"] is None else text.line(trial["baseline"], 40)


def _examples(sweep: Sweep) -> float:
    """The examples that are trained on in an epoch; 0 where that is not known."""
    config = json.loads(sweep.trials[0]["config"] or "{}") if sweep.trials else {}
    held_out = (config.get("evaluation") or {}).get("held_out") or 0.0
    return float(sweep.plan.get("data", {}).get("examples") or 0) * (1 - held_out)


def _known(sweep: Sweep, key: str) -> bool:
    return bool(sweep.measurements) and all(m.get(key) for m in sweep.measurements)


def _best(sweep: Sweep, trial: Row, axis: Axis, budget: float) -> float:
    """The best score of a trial within a budget."""
    within = (m["score"] for m in sweep.measured(trial) if axis.at(m) <= budget * SLACK)
    return min(within, default=math.inf)
