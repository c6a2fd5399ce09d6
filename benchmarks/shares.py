#!/usr/bin/env python
"""What of a trial goes into its data, and what into its evaluations: shares of its CPU time.

Trials of ``ttur.yaml`` are trained as a worker trains them, on digits of 8 px as they ship and on
triangles of 32 px with a shorter budget, and clocks run in the feed, in the rounds and in the
evaluations of these very trials. A block is a trial, each with another configuration of the space.
What a share is beside is what we promise: that drawing data takes 2 % of a step at most, and that
rung evaluations take 10 % of a trial.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from pairs import Row, Times, told
from search import configurations

from sweeper.config import Trial
from sweeper.sweep.plan import Settings, prepare
from sweeper.trial.evaluate import Evaluator
from sweeper.trial.feed import Feed
from sweeper.trial.loop import Diverged, Training, train

SPACE = Path(__file__).parents[1] / "search_spaces" / "ttur.yaml"
SHORTER = (
    "budget.max=3.6",
    "evaluation.samples=100",
    "evaluation.full_samples=100",
    "evaluation.metrics=[]",
)
CLOCKS = ((Feed, "draw"), (Training, "round"), (Evaluator, "judge"), (Evaluator, "full"))
WHOLES = {
    "round": "step",
    "training": "trial without its full evaluation",
    "trial": "whole trial",
}

Spent = defaultdict[str, float]


@contextmanager
def clocked(owner: type, name: str, spent: Spent) -> Iterator[None]:
    """Count the CPU seconds that go into a method."""
    plain: Callable[..., Any] = getattr(owner, name)

    def timed(*given: Any, **named: Any) -> Any:
        begun = time.process_time()
        try:
            return plain(*given, **named)
        finally:
            spent[name] += time.process_time() - begun

    with patch.object(owner, name, timed):
        yield


def spent_by(trial: Trial, cache: Path) -> Spent | None:
    """The CPU seconds of a trial, as a whole and by method; None where it diverges."""
    spent = Spent(float)
    with TemporaryDirectory() as folder, ExitStack() as clocks:
        for owner, name in CLOCKS:
            clocks.enter_context(clocked(owner, name, spent))
        begun = time.process_time()
        try:
            for _ in train(trial, cache, Path(folder)):
                pass
        except Diverged:
            return None
        spent["trial"] = time.process_time() - begun
    spent["training"] = spent["trial"] - spent["full"]
    spent["evaluations"] = spent["judge"] + spent["full"]
    return spent


def trials(data: str, overrides: tuple[str, ...], blocks: int) -> list[Spent]:
    """What so many trials of the space spent, after the beginning of one, which does not count."""
    found = list[Spent]()
    with TemporaryDirectory() as out:
        plan = prepare(Settings(SPACE, data, overrides, out=Path(out)))
        points = [trial for _, trial in configurations(plan, 2 * blocks + 1)]
        with suppress(Diverged):
            next(train(points[0], plan.cache))
        for trial in points:
            if len(found) < blocks and (spent := spent_by(trial, plan.cache)):
                found.append(spent)
                took = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in spent.items())
                print(f"  {data}: {took}", file=sys.stderr)
    return found


def share(
    spent: list[Spent], part: str, whole: str, most: float, case: str, *, promised: bool = True
) -> Row:
    """What goes into a part, beside the most that may go there of a whole."""
    words = f"{most:.0%} of the {WHOLES[whole]}"
    seconds = np.array([[each[part], most * each[whole]] for each in spent])
    protocol = (
        "CPU seconds of one thread inside of real trials of ttur.yaml; a block is a configuration; "
        "a trial has its start, checkpoints and sheets in it, and its full evaluation if so said"
    )
    return Times((case, words), seconds).row(
        case,
        words,
        part="shares",
        case=case,
        protocol=protocol,
        at_least=1.0 if promised else None,
    )


def rows(quick: bool) -> list[Row]:
    """The shares of data and of evaluations."""
    return measured(1 if quick else 12)


def measured(blocks: int) -> list[Row]:
    """The shares over so many trials of each data set."""
    digits = trials("digits", (), blocks)
    triangles = trials("triangles", SHORTER, blocks)
    return [
        share(digits, "draw", "round", 0.02, "data path, digits, 8 px"),
        share(triangles, "draw", "round", 0.02, "data path, triangles, 32 px"),
        share(digits, "judge", "training", 0.1, "rung evaluations, digits"),
        share(digits, "evaluations", "trial", 0.1, "all evaluations, digits", promised=False),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12, help="trials of each data set")
    print(told(measured(parser.parse_args().blocks)))


if __name__ == "__main__":
    main()
