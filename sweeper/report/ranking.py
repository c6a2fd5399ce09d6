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

import pyarrow as pa
import pyarrow.parquet as pq

from sweeper.ledger.come import come
from sweeper.ledger.confirmed import Confirmed, Run, confirmed, merits
from sweeper.ledger.confirmed import sentences as verdicts
from sweeper.ledger.descent import descent
from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.names import short_names as short_names
from sweeper.protocol import MixedError
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
    def confirmed(self) -> Confirmed | None:
        """What fresh seeds say of the best; None where none were run."""
        return confirmed(map(run_of, self.trials), self.plan.get("confirm", {}).get("seeds", 2))

    @cached_property
    def ranking(self) -> list[Row]:
        """The trials of the search and the baselines, best first: those that were confirmed by
        their fresh runs, once all of them have ended, and the others by their scores."""
        place = self.confirmed.places if self.confirmed is not None else {}
        return sorted(ranking(self.trials), key=lambda t: place.get(t["trial"], len(place)))

    @property
    def best(self) -> Row | None:
        """The first of the ranking, baselines included, if any trial has a score yet."""
        return next(iter(self.ranking), None)

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


class NoSweepError(FileNotFoundError):
    """A folder that is no sweep's."""


def check_sweep(folder: Path) -> None:
    """Raise NoSweepError for a folder that is no sweep's."""
    if not (folder / "sweep.json").is_file():
        raise NoSweepError(f"a results folder holds sweep.json, but {folder} does not")


def load(folder: Path) -> Sweep:
    """Read a results folder: ``sweep.json`` and, as far as they exist yet, its tables.

    Raises NoSweepError when there is no plan, so that the folder is not a sweep's, or when one of
    these is not what was written there.
    """
    check_sweep(folder)
    file = folder / "sweep.json"
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise NoSweepError(f"{file}: this is not what sweeper wrote there") from None
    trials = _rows(folder / "trials.parquet")
    measurements = _rows(folder / "measurements.parquet")
    return Sweep(
        folder,
        plan,
        sorted(trials, key=lambda t: t["trial"]),
        sorted(measurements, key=lambda m: (m["trial"], m["images"])),
        sorted(_rows(folder / "verdicts.parquet"), key=lambda v: (v["trial"], v["images"])),
    )


def run_of(trial: Row) -> Run:
    """What a trial tells of its configuration."""
    return Run(
        trial["trial"],
        trial.get("of"),
        trial.get("role") or "search",
        trial["baseline"],
        trial["state"],
        trial["score"],
        trial["heldout"],
    )


def ranking(trials: Iterable[Row]) -> list[Row]:
    """Trials that have a score, the lowest first; ties go to the lower number. Those that broke
    come after the others, and what was run again for another trial is not among them: what a search
    repeats on several seeds has the mean of its runs for its score here.

    Raises MixedError when they were not all measured under one protocol.
    """
    trials = list(trials)
    scored = [trial for trial in trials if trial["score"] is not None]
    protocols = sorted({str(trial["protocol"]) for trial in scored})
    if len(protocols) > 1:
        raise MixedError(
            "only scores of one protocol are ranked together, but these have "
            f"{len(protocols)}: {', '.join(protocols)}"
        )
    if any(trial.get("role") == "repeat" for trial in trials):
        means = merits(map(run_of, trials))
        scored = [t | {"score": means[t["trial"]]} for t in scored if t["trial"] in means]
    return sorted(
        (trial for trial in scored if trial.get("of") is None),
        key=lambda trial: (trial.get("state") in BROKEN, trial["score"], trial["trial"]),
    )


ENOUGH = 5
METRIC = "metric."
"""What the columns of metrics beside the score begin with."""


def metrics_of(trials: Iterable[Row]) -> list[str]:
    """The names of what some of the trials were measured by beside the score."""
    found = {key for trial in trials for key, value in trial.items() if value is not None}
    return sorted(key.removeprefix(METRIC) for key in found if key.startswith(METRIC))


def agreement(trials: Iterable[Row]) -> dict[str, float]:
    """Spearman's rank correlation of each metric with the held-out distance, over the trials that
    have both, where there are five or more and they differ."""
    # Imported here, since it takes a while.
    from scipy.stats import spearmanr

    full, found = [trial for trial in trials if trial["heldout"] is not None], dict[str, float]()
    for name in metrics_of(full):
        both = [(t["heldout"], v) for t in full if (v := t.get(METRIC + name)) is not None]
        distances, values = [pair[0] for pair in both], [pair[1] for pair in both]
        if len(both) >= ENOUGH and len(set(distances)) > 1 and len(set(values)) > 1:
            found[name] = float(spearmanr(distances, values).statistic)
    return found


def baselines(trials: Iterable[Row]) -> list[Row]:
    """The baselines by score, those without one last."""
    trials = list(trials)
    known = [trial for trial in ranking(trials) if trial["baseline"] is not None]
    return known + [t for t in trials if t["baseline"] is not None and t["score"] is None]


def counts(trials: Iterable[Row]) -> dict[str, int]:
    """How many trials are in each state; every state is there, be it with 0."""
    found = Counter(trial["state"] for trial in trials)
    return {state: found[state] for state in STATES}


def compute_share(sweep: Sweep) -> float:
    """Images trained on, as a share of training every begun trial to the horizon."""
    begun = [trial for trial in sweep.trials if trial["state"] != "pending"]
    full = len(begun) * sweep.horizon
    done = (come(sweep.plan, json.loads(t["config"] or "{}"), t["images"]) for t in begun)
    return sum(done) / full if full else 0.0


def worker_seconds(trials: Iterable[Row]) -> float:
    """What the trials took, in seconds of their workers."""
    return math.fsum(trial["seconds"] or 0.0 for trial in trials)


def images_to(sweep: Sweep, trial: Row, score: float) -> int | None:
    """The budget at which a trial was first measured at ``score`` or below."""
    reached = (m["images"] for m in sweep.measured(trial) if m["score"] <= score)
    return next(reached, None)


def answer(sweep: Sweep) -> Answer:
    """The sweep in one record: what ``sweeper run`` says at its end, and the report at its top."""
    order, first = sweep.ranking, sweep.best
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
    said = told(sweep) or [_winner(sweep, found), _against_baseline(found)]
    said.append(_cost(sweep, found))
    said.append(text.line(descent(sweep.plan), 300))
    return [sentence for sentence in said if sentence]


def told(sweep: Sweep) -> list[str]:
    """What fresh seeds say of the best in plain words, if any were run."""
    if sweep.confirmed is None:
        return []
    metric = str(sweep.plan.get("metric", "the score"))
    return [text.line(said, 500) for said in verdicts(sweep.confirmed, metric)]


def value_of(trial: Row, name: str) -> Any:
    """A trial's value of a searched parameter; None where its branch was not chosen.

    A baseline that was not drawn from the space has its values in its configuration.
    """
    drawn = trial.get(f"param.{name}")
    if drawn is not None or trial["baseline"] is None:
        return drawn
    return stands(trial, name)


def stands(trial: Row, name: str) -> Any:
    """What stands at a path of a trial's configuration; None if nothing does."""
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
    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid:
        raise NoSweepError(f"{path}: this is not what sweeper wrote there") from None
    for row in rows:
        for name in ("score", "best", "heldout"):
            if row.get(name) is not None and not math.isfinite(row[name]):
                row[name] = None
    return rows


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(rows[0]) if rows else []
