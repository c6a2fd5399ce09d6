#!/usr/bin/env python
"""Whether every option of a search space trains: the Fréchet distance before training and after.

Each arm is the first baseline of the space with one of its choices set to one of its options, whose
own knobs are as the technique has them. Printed are the distance of the untrained generator and of
the best one under the rung protocol, their ratio, and the diagnoses that failed.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

HOLES = ("choice", "uniform", "loguniform", "int", "logint", "maybe", "ratio_of")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("space", type=Path)
    parser.add_argument("--data", help="a data set by name, instead of the space's")
    parser.add_argument("--paths", nargs="*", help="only choices at these paths; without any, none")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="path=value")
    parser.add_argument("--baseline", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("results/.cache"))
    asked = parser.parse_args()
    print(
        f"{'arm':60} {'untrained':>10} {'best':>10} {'ratio':>6}  kimg  CPU s  failed", flush=True
    )
    for name, trial in arms(asked):
        print(f"{name:60} {measured(trial, asked.cache)}", flush=True)


def arms(asked: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The trials to be run: the baselines, and each option beside the chosen one."""
    from sweeper.config import Misfit
    from sweeper.space.baselines import Baseline
    from sweeper.sweep.plan import Settings, space_of

    overrides = (*asked.overrides, f"seed={asked.seed}")
    space, _ = space_of(Settings(asked.space, asked.data, overrides))
    if not asked.paths:
        for baseline in space.baselines:
            yield f"baseline {baseline.name}", space.baseline(baseline)[1]
    base = dict(space.baselines[asked.baseline].given)
    for path, options in choices(yaml.safe_load(asked.space.read_text())["trial"]):
        if asked.paths is not None and path not in asked.paths:
            continue
        for option in options:
            own = {key: value for key, value in base.items() if not key.startswith(f"{path}.")}
            try:
                trial = space.baseline(Baseline("", {**own, path: plain(option)}))[1]
            except (Misfit, ValueError) as refused:
                print(f"{path}: {named(option):40} refused: {refused}")
                continue
            yield f"{path}: {named(option)}", trial


def choices(tree: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every choice of a tree that stands in no other, by its path."""
    for key, value in tree.items():
        path = f"{at}.{key}" if at else str(key)
        if isinstance(value, Mapping) and "choice" in value:
            yield path, value["choice"]
        elif isinstance(value, Mapping):
            yield from choices(value, path)


def plain(option: Any) -> Any:
    """An option without the knobs that are searched."""
    if not isinstance(option, Mapping):
        return option
    return {name: knobs_of(knobs) for name, knobs in option.items()}


def knobs_of(knobs: Any) -> Any:
    if not isinstance(knobs, Mapping):
        return {}
    return {k: v for k, v in knobs.items() if v != "auto" and not searched(v)}


def searched(value: Any) -> bool:
    return isinstance(value, Mapping) and any(hole in value for hole in HOLES)


def named(option: Any) -> str:
    return ", ".join(option) if isinstance(option, Mapping) else str(option)


def measured(trial: Any, cache: Path) -> str:
    """Train a trial, and say what came of it."""
    from sweeper.config import Misfit
    from sweeper.trial.loop import Diverged, Training

    begun = time.process_time()
    try:
        training = Training(trial, cache)
        shown = training.feed.range.showing(training.gan.eval_generator())
        before, _ = training.evaluator.judge(shown, training.gan.prior)
        while not training.finished:
            found = training.advance()
    except (Misfit, Diverged, ValueError) as error:
        return f"does not train: {error}"
    failed = ", ".join(v.name for v in found.verdicts if v.level == "fail") or "none"
    ratio = found.best / before if before else math.nan
    took = time.process_time() - begun
    return (
        f"{before:>10.4g} {found.best:>10.4g} {ratio:>6.3f} {found.images / 1000:>5.1f} "
        f"{took:>6.0f}  {failed}"
    )


if __name__ == "__main__":
    main()
