"""The order of a sweep's trials, and what it comes to: read from the results folder alone.

Nothing here draws, so that the command line can answer without waiting for a plotting library.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.names import short_names as short_names
from sweeper.report import text

Row = dict[str, Any]

STATES: tuple[str, ...] = ("completed", "stopped", *BROKEN, "running", "pending")


@dataclass(frozen=True)
class Sweep:
    """A results folder, read: the plan, a row a trial by number, a row a measurement by budget, and
    a row for all that a diagnostic said at one, in the same order."""

    folder: Path
    plan: Row
    trials: list[Row]
    measurements: list[Row]
    verdicts: list[Row] = field(default_factory=list)

    @property
    def horizon(self) -> int:
        """Images a trial is trained on when nothing stops it."""
        return round(1000 * float(self.plan["horizon_kimg"]))

    @property
    def parameters(self) -> list[Row]:
        """What was searched: the plan's holes, and any parameter that only the table knows."""
        planned = list(self.plan.get("parameters", []))
        known = {spec["name"] for spec in planned}
        columns = [c.removeprefix("param.") for c in _columns(self.trials) if c[:6] == "param."]
        return planned + [
            {"name": name, "kind": "choice", "choices": []} for name in columns if name not in known
        ]

    def measured(self, trial: Row) -> list[Row]:
        """A trial's measurements that have a value, by budget."""
        return self._measured.get(trial["trial"], [])

    @cached_property
    def _measured(self) -> dict[int, list[Row]]:
        grouped: dict[int, list[Row]] = {}
        for row in self.measurements:
            if row["score"] is not None:
                grouped.setdefault(row["trial"], []).append(row)
        return grouped


@dataclass(frozen=True)
class Answer:
    """What a sweep found, in the numbers one asks for first.

    ``ratio`` is how many times lower the best score is than the baseline's; ``share`` is what was
    trained as a share of training every trial to the horizon; ``images_to_baseline`` is the budget
    at which the best trial first was as good as the baseline ever was.
    """

    best: Row | None
    top: list[Row]
    baseline: Row | None
    ratio: float | None
    counts: dict[str, int]
    share: float
    seconds: float
    images_to_baseline: int | None


def load(folder: Path) -> Sweep:
    """Read a results folder: ``sweep.json`` and, as far as they exist yet, its tables.

    Raises FileNotFoundError when there is no plan: the folder is then not a sweep's.
    """
    plan = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    trials = _rows(folder / "trials.parquet")
    measurements = _rows(folder / "measurements.parquet")
    return Sweep(
        folder,
        plan,
        sorted(trials, key=lambda t: t["trial"]),
        sorted(measurements, key=lambda m: (m["trial"], m["images"])),
        sorted(_rows(folder / "verdicts.parquet"), key=lambda v: (v["trial"], v["images"])),
    )


def ranking(trials: Iterable[Row]) -> list[Row]:
    """Trials that have a score, the lowest first; ties go to the lower number.

    Raises ValueError when they were not all measured under one protocol.
    """
    scored = [trial for trial in trials if trial["score"] is not None]
    protocols = sorted({str(trial["protocol"]) for trial in scored})
    if len(protocols) > 1:
        raise ValueError(
            "only scores of one protocol are ranked together, but these have "
            f"{len(protocols)}: {', '.join(protocols)}"
        )
    return sorted(scored, key=lambda trial: (trial["score"], trial["trial"]))


def best(trials: Iterable[Row]) -> Row | None:
    """The first of the ranking, baselines included, if any trial has a score yet."""
    return next(iter(ranking(trials)), None)


def baselines(trials: Iterable[Row]) -> list[Row]:
    """The baselines by score, those without one last."""
    named = [trial for trial in trials if trial["baseline"] is not None]
    return ranking(named) + [trial for trial in named if trial["score"] is None]


def counts(trials: Iterable[Row]) -> dict[str, int]:
    """How many trials are in each state; every state is there, be it with 0."""
    found = Counter(trial["state"] for trial in trials)
    return {state: found[state] for state in STATES}


def compute_share(sweep: Sweep) -> float:
    """Images trained on, as a share of training every begun trial to the horizon."""
    begun = [trial for trial in sweep.trials if trial["state"] != "pending"]
    full = len(begun) * sweep.horizon
    return sum(trial["images"] for trial in begun) / full if full else 0.0


def worker_seconds(trials: Iterable[Row]) -> float:
    """What the trials took, in seconds of their workers."""
    return math.fsum(trial["seconds"] or 0.0 for trial in trials)


def images_to(sweep: Sweep, trial: Row, score: float) -> int | None:
    """The budget at which a trial was first measured at ``score`` or below."""
    reached = (m["images"] for m in sweep.measured(trial) if m["score"] <= score)
    return next(reached, None)


def answer(sweep: Sweep) -> Answer:
    """The sweep in one record: what ``sweeper run`` says at its end, and the report at its top."""
    order = ranking(sweep.trials)
    first = order[0] if order else None
    base = next((b for b in baselines(sweep.trials) if b["score"] is not None), None)
    ratio = reached = None
    if first is not None and base is not None:
        ratio = base["score"] / first["score"] if first["score"] > 0 else None
        reached = images_to(sweep, first, base["score"])
    return Answer(
        best=first,
        top=[trial for trial in order if trial["baseline"] is None][:3],
        baseline=base,
        ratio=ratio,
        counts=counts(sweep.trials),
        share=compute_share(sweep),
        seconds=worker_seconds(sweep.trials),
        images_to_baseline=reached,
    )


def sentences(sweep: Sweep) -> list[str]:
    """The answer in plain words, most important first."""
    found = answer(sweep)
    said = [_winner(sweep, found), _against_baseline(found), _cost(sweep, found)]
    return [sentence for sentence in said if sentence]


def value_of(trial: Row, name: str) -> Any:
    """A trial's value of a searched parameter; None where its branch was not chosen.

    A baseline that was not drawn from the space has its values in its configuration.
    """
    drawn = trial.get(f"param.{name}")
    if drawn is not None or trial["baseline"] is None:
        return drawn
    return _at(json.loads(trial["config"] or "{}"), name.split("."))


def _at(tree: Any, path: Sequence[str]) -> Any:
    """What stands at a path; of a technique with its knobs, the technique's name."""
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    if isinstance(tree, dict):
        return next(iter(tree)) if len(tree) == 1 else None
    return tree


def _winner(sweep: Sweep, found: Answer) -> str:
    if found.best is None:
        return "No trial has a score yet." if _unfinished(found) else "No trial got a score."
    who = f"Trial {found.best['name']}"
    if found.best["baseline"] is not None:
        who = f"The baseline {text.line(found.best['baseline'])}"
    heldout = found.best["heldout"]
    sure = f" ({text.score(heldout)} held out)" if heldout is not None else ""
    metric = text.line(sweep.plan.get("metric", "the score"))
    return f"{who} is best, with {metric} {text.score(found.best['score'])}{sure}."


def _against_baseline(found: Answer) -> str:
    if found.best is None or found.baseline is None:
        return ""
    name = text.line(found.baseline["baseline"])
    if found.best["baseline"] is not None:
        return "No trial of the search beat it." if found.top else ""
    said = f"The baseline {name} reached {text.score(found.baseline['score'])}"
    if found.ratio is not None:
        said += f", {found.ratio:.3g} times as much"
    if found.images_to_baseline is None:
        return f"{said}."
    there, whole = (text.kimg(n) for n in (found.images_to_baseline, found.baseline["best_images"]))
    return f"{said}; the best trial was as good after {there} kimg as the baseline after {whole}."


def _cost(sweep: Sweep, found: Answer) -> str:
    begun = len(sweep.trials) - found.counts["pending"]
    if not begun:
        return ""
    return (
        f"{found.counts['stopped']} of {begun} trials were stopped early: the sweep trained on "
        f"{text.percent(found.share)} of the images that training all of them to the end takes, "
        f"in {text.duration(found.seconds)} of worker time."
    )


def _unfinished(found: Answer) -> bool:
    live = found.counts["running"] + found.counts["pending"]
    return live > 0 or not sum(found.counts.values())


def _rows(path: Path) -> list[Row]:
    """A table's rows, where a number that is none (NaN, infinite) is None."""
    if not path.exists():
        return []
    rows: list[Row] = pq.read_table(path).to_pylist()
    for row in rows:
        for name in ("score", "best", "heldout"):
            if row.get(name) is not None and not math.isfinite(row[name]):
                row[name] = None
    return rows


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(rows[0]) if rows else []
