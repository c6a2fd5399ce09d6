#!/usr/bin/env python
"""What the proposals of TPE are worth that is shown some of the trials, against one shown more.

Trials are points of a search space and scored by a bowl that a seed has put somewhere in it; every
seed is one pair. Printed are, for each number of trials shown, the best score, the mean score of
the last tenth of the proposals, and the time per proposal; then the differences within the pairs.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

SPACE = Path(__file__).parents[1] / "search_spaces" / "ttur.yaml"
LIVE = 8
"""Trials at a time: so many proposals are made before a score is known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--shown", type=int, nargs="+", default=(200, 800))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--space", type=Path, default=SPACE)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(asked, Path(folder))


def compare(asked: argparse.Namespace, out: Path) -> None:
    """Search the same bowls with every number of trials shown, and print what came of it."""
    from sweeper.sweep.plan import Settings, prepare

    override = ("search.method=tpe",)
    plan = prepare(Settings(asked.space, "digits", override, asked.trials, 0, None, out))
    found: dict[int, list[tuple[float, float]]] = {shown: [] for shown in asked.shown}
    print("seed  shown     best  last tenth  CPU/proposal", flush=True)
    for seed in range(asked.seeds):
        bowl = Bowl(plan.space.parameters, seed)
        for shown, results in found.items():
            begun = time.thread_time()
            scores = search(plan.space, bowl, seed, shown, asked.trials)
            took = (time.thread_time() - begun) / asked.trials
            results.append((min(scores), mean(scores[-asked.trials // 10 :])))
            best, late = results[-1]
            print(f"{seed:>4}  {shown:>5}  {best:.5f}  {late:>10.4f}  {took:>9.4f} s", flush=True)
    base, *others = asked.shown
    for other in others:
        for k, name in enumerate(("best", "last tenth")):
            pairs = [(a[k], b[k]) for a, b in zip(found[base], found[other], strict=True)]
            say(name, base, other, pairs)


def search(space: Any, bowl: Bowl, seed: int, shown: int, trials: int) -> list[float]:
    """The scores of so many proposals, in their order."""
    from sweeper.ledger.ledger import Event, Record
    from sweeper.sweep import proposer
    from sweeper.sweep.agenda import Agenda

    proposer.SHOWN, proposer.VALUES = shown, shown * 10_000
    source = proposer.Proposer(space, lambda trial: None, seed)
    records: list[Record] = []
    live: deque[Record] = deque()
    for number in range(trials):
        due = Agenda(space, trials).due(records)
        assert due is not None
        made = source.propose(due, records)
        record = Record(number, made.baseline, dict(made.params), {}, 0.0)
        record.add(Event(2 * number + 1, number, 1, "started", 0, None, None, {}, 0.0))
        records.append(record)
        live.append(record)
        if len(live) == LIVE:
            done = live.popleft()
            score, seq = bowl.score(done.params), 2 * done.number + 2
            done.add(Event(seq, done.number, 1, "measured", 1, score, None, {"best": score}, 0.0))
            done.add(Event(seq, done.number, 1, "ended", 1, score, "completed", {}, 0.0))
    return [bowl.score(record.params) for record in records]


class Bowl:
    """A function of a trial's parameters with its least value, 0, somewhere in their ranges: round
    but for neighbours that have to fit each other, with a step for every choice that is not the
    best."""

    def __init__(self, parameters: list[dict[str, Any]], seed: int) -> None:
        draw = random.Random(f"bowl {seed}")
        self.parameters = parameters
        self.weights = [math.exp(draw.uniform(-1.5, 1.5)) for _ in parameters]
        self.best = [
            draw.randrange(len(p["choices"])) if "choices" in p else draw.uniform(0.1, 0.9)
            for p in parameters
        ]
        self.absent = [draw.uniform(0.02, 0.2) for _ in parameters]

    def score(self, params: dict[str, Any]) -> float:
        off = [self._off(k, params) for k in range(len(self.parameters))]
        away = sum(weight * (x * x) for weight, x in zip(self.weights, off, strict=True))
        apart = sum((x - y) ** 2 for x, y in pairwise(off))
        return away + apart / 2

    def _off(self, k: int, params: dict[str, Any]) -> float:
        """How far a parameter is from its best, as a part of its range."""
        p, best = self.parameters[k], self.best[k]
        value = params.get(p["name"])
        if value is None:
            return self.absent[k]
        if "choices" in p:
            return 0.0 if value == p["choices"][best] else 0.3
        low, high = p["low"], p["high"]
        if p.get("log"):
            low, high, value = math.log(low), math.log(high), math.log(value)
        return float((value - low) / (high - low) - best)


def say(name: str, base: int, other: int, pairs: list[tuple[float, float]]) -> None:
    """The mean of the pairs' differences with its 95 % interval, and who won how often."""
    differences = [b - a for a, b in pairs]
    ahead = sum(d < 0 for d in differences)
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    print(
        f"{name}: median {median(a for a, _ in pairs):.5f} with {base} shown, "
        f"{median(b for _, b in pairs):.5f} with {other}; {other} - {base}: "
        f"{mean(differences):+.5f} ± {quantile(len(differences)) * error:.5f}, "
        f"{other} is better in {ahead} of {len(pairs)}"
    )


def quantile(pairs: int) -> float:
    """Of Student's t at 97.5 %, which stands for the few seeds that there are."""
    from scipy.stats import t

    return float(t.ppf(0.975, pairs - 1)) if pairs > 1 else math.nan


if __name__ == "__main__":
    main()
