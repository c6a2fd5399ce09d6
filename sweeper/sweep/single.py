"""One trial by itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch

from sweeper.config import Misfit, Trial
from sweeper.game import Player
from sweeper.ledger.ledger import failing
from sweeper.space.baselines import Baseline
from sweeper.space.holes import holes
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace
from sweeper.space.use import keep
from sweeper.stream import Measurement
from sweeper.sweep.draws import Fits, draws
from sweeper.sweep.plan import (
    Progress,
    Settings,
    new_name,
    prepare,
)
from sweeper.trial import start
from sweeper.trial.gan import Gan
from sweeper.trial.loop import Diverged, Training, train


def single(
    file: Path,
    data: str | None,
    overrides: tuple[str, ...],
    sample: int | None,
    out: Path,
    progress: Progress,
    *,
    json_lines: bool,
    use: tuple[Path, ...] = (),
    debug: bool = False,
    steps: int | None = None,
) -> Iterator[str]:
    """Train one trial of a file in this process: a line a measurement; to ``debug`` it, a line a
    round, of which there are so many ``steps``."""
    plan = prepare(Settings(file, data, overrides, out=out, use=use), progress)
    trial = chosen(plan.space, sample, plan.probe)
    for warning in trial.warnings():
        fields = {"schema": 1, "event": "warning", "says": str(warning)}
        yield json.dumps(fields) if json_lines else f"warning: {warning}"
    if debug:
        yield from slowly(Training(trial, plan.cache, threads=plan.space.resources.cpu), steps)
        return
    folder = out / new_name(out, f"{plan.space.name}-trial")
    folder.mkdir(parents=True)
    keep(plan.use, folder)
    files = {"use": [used.stored for used in plan.use]} if plan.use else {}
    (folder / "trial.json").write_text(json.dumps(files | trial.plain(), indent=2))
    resources = plan.space.resources
    measurements = train(
        trial,
        plan.cache,
        folder,
        threads=resources.cpu,
        ranks=resources.processes,
        prepare=[used.load for used in plan.use],
    )
    told = as_json if json_lines else in_words
    try:
        yield from told(measurements, plan.metric, folder)
    except Diverged as error:
        fields = {"schema": 1, "event": "diverged", "reason": str(error)}
        yield json.dumps(fields) if json_lines else f"diverged: {error}"
    if not json_lines:
        yield f"samples and checkpoints are in {folder}"


def as_json(measurements: Iterable[Measurement], metric: str, folder: Path) -> Iterator[str]:
    """A JSON object a measurement, up to one that fails a diagnosis."""
    for m in measurements:
        yield json.dumps({"schema": 1, "event": "measured", "metric": metric, **m.plain()})
        if failing(m.plain()):
            return


def in_words(measurements: Iterable[Measurement], metric: str, folder: Path) -> Iterator[str]:
    """A line a measurement, and one for all that a diagnostic says and did not say at the one
    before; up to one that fails a diagnosis."""
    known: set[tuple[str, str]] | None = None
    for m in measurements:
        if known is None and (report := folder / "start.json").exists():
            yield from start.lines(json.loads(report.read_text()))
        held = f"  held out {m.heldout:.4g}" if m.heldout is not None else ""
        others = "".join(f"  {k} {v:.4g}" for k, v in m.metrics.items() if v is not None)
        losses = "  ".join(f"{name} {value:.3g}" for name, value in m.losses.items())
        score = f"{metric} {m.score:.4g}  best {m.best:.4g}{held}{others}"
        yield f"{m.images / 1000:>8.1f} kimg  {score}  {losses}"
        for v in m.verdicts:
            if (v.name, v.level) not in (known or set()):
                advice = f" (try {v.advice})" if v.advice else ""
                yield f"{v.level:>13}  {v.name}: {v.says}{advice}"
        if failed := failing(m.plain()):
            yield f"diagnosed: {failed['name']} ends the trial"
            return
        known = {(v.name, v.level) for v in m.verdicts}


def slowly(training: Training, steps: int | None) -> Iterator[str]:
    """Train round by round, with PyTorch's own search for what is not a number: what both players
    pay, term by term, how D scores, and how large the gradients are."""
    rounds = 0
    with torch.autograd.set_detect_anomaly(True):
        while training.progress.images < training.progress.horizon and rounds != steps:
            seen = {name: float(value) for name, value in training.round().items()}
            shown = seen | slopes(training.gan)
            rounds += 1
            values = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
            yield f"round {rounds}  {training.progress.images} images  {values}"
            if wrong := [name for name, value in shown.items() if not math.isfinite(value)]:
                yield f"diverged: {', '.join(wrong)} is not finite"
                return


def slopes(gan: Gan) -> dict[str, float]:
    """The L2 norm of each player's last gradient, as it was stepped down."""
    found = {}
    for player in Player:
        gradients = [p.grad for p in gan.parameters(player) if p.grad is not None]
        found[f"{player} gradient"] = float(torch.nn.utils.get_total_norm(gradients))
    return found


def chosen(space: SearchSpace, sample: int | None, fits: Fits) -> Trial:
    """The plainest trial of a space, or its ``sample``-th random draw that fits. Raises
    InputError."""
    try:
        if sample is None or not list(holes(space.tree)):
            return space.baseline(Baseline("", {}))[1]
    except Misfit as misfit:
        raise InputError(map(space.fault, misfit.problems)) from None
    return next(islice(draws(space, fits), sample, None))[1]
