"""One trial by itself, and samples from a trained one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from sweeper.catalog.families import walks
from sweeper.config import Misfit, Trial
from sweeper.game import Player, Streams, derive
from sweeper.ledger.ledger import Ledger, failing
from sweeper.registry import Entry, nearest, tags
from sweeper.space.baselines import Baseline
from sweeper.space.holes import holes
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace
from sweeper.space.use import keep
from sweeper.stream import Measurement
from sweeper.sweep.mirror import stored_data, with_data
from sweeper.sweep.plan import (
    Progress,
    Settings,
    brought_before,
    check_inside,
    new_name,
    prepare,
)
from sweeper.sweep.proposer import random_study
from sweeper.trial import start
from sweeper.trial.assemble import build
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.evaluate import labels_like, sheet
from sweeper.trial.evaluate import sampled as samples_of
from sweeper.trial.gan import Gan
from sweeper.trial.loop import Diverged, Training, open_store, train


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
    trial = chosen(plan.space, sample)
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
        losses = "  ".join(f"{name} {value:.3g}" for name, value in m.losses.items())
        score = f"{metric} {m.score:.4g}  best {m.best:.4g}{held}"
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


def chosen(space: SearchSpace, sample: int | None) -> Trial:
    """The plainest trial of a space, or its ``sample``-th random draw that fits."""
    try:
        if sample is None or not list(holes(space.tree)):
            return space.baseline(Baseline("", {}))[1]
    except Misfit as misfit:
        raise InputError(map(space.fault, misfit.problems)) from None
    study, fitting = random_study(space.search.seed), 0
    while True:
        try:
            trial = space.sample(study.ask())
        except Misfit:
            continue
        if fitting == sample:
            return trial
        fitting += 1


def generate(
    folder: Path,
    n: int,
    output: Path,
    number: int | None,
    seed: int,
    walk: str | None = None,
    steps: int = 8,
    use: tuple[Path, ...] = (),
) -> Iterator[str]:
    """Write a sheet of samples of a trial's best generator, or of walks of so many ``steps``
    between its latents, a row each. Raises InputError without one."""
    if not (folder / "ledger.sqlite").is_file():
        raise InputError([f"a results folder holds ledger.sqlite, but {folder} does not"])
    check_inside(folder)
    brought_before(folder, use)
    way = None if walk is None else walk_of(walk)
    ledger = Ledger(folder, write=False)
    try:
        scored = {r.number: r for r in ledger.records if r.score is not None}
    finally:
        ledger.close()
    if not scored or (number is not None and number not in scored):
        known = ", ".join(map(str, sorted(scored))) or "none"
        raise InputError([f"--trial is one that was measured ({known}), but got {number}"])
    ranked = sorted(scored.values(), key=lambda r: (r.heldout is None, r.score))
    record = scored[number] if number is not None else ranked[0]
    state = Checkpoints(folder / "trials" / f"{record.number:05d}" / "checkpoints").load()
    if state is None:
        raise InputError(
            [
                f"{record.name} has no checkpoint: "
                "of a complete sweep only the best trials keep theirs"
            ]
        )
    out = folder.resolve().parent
    trial, cache = Trial.read(with_data(record.config, out / stored_data(folder))), out / ".cache"
    output.parent.mkdir(parents=True, exist_ok=True)
    if way is None:
        sheet(sampled(trial, state, cache, n, seed)).save(output)
        what = f"{n} samples"
    else:
        rows = max(1, n // steps)
        sheet(sampled(trial, state, cache, rows, seed, way, steps), steps).save(output)
        what = f"{rows} walks ({way.name}) of {steps} samples"
        for law in way.warns:
            if law.tag in tags(trial.prior.entry.provides):
                yield f"warning: {way.name} beside {trial.prior.entry.name}: {law.why}"
    yield f"wrote {what} of {record.name} ({record.score:.4g}) to {output}"


def walk_of(name: str) -> Entry[Any]:
    """The walk of a name, or of what comes before ``_interpolation`` in it. Raises InputError."""
    known = {key.removesuffix("_interpolation"): entry for key, entry in walks.items()}
    if name in known or name in walks:
        return known.get(name) or walks[name]
    hint = nearest(name, known)
    meant = f"; did you mean {hint}?" if hint else ""
    raise InputError([f"--walk is one of {', '.join(known)}, but got {name!r}{meant}"])


@torch.no_grad()
def sampled(
    trial: Trial,
    state: dict[str, Any],
    cache: Path,
    n: int,
    seed: int,
    way: Entry[Any] | None = None,
    steps: int = 1,
) -> torch.Tensor:
    """Samples (n, *shape) of the generator that was best in a trial's checkpoint; of a walk with so
    many ``steps`` for each of n pairs of latents, if there is a ``way``: (n · steps, *shape)."""
    store = open_store(trial.data, cache)
    generator = build(trial, store.meta.shape, store.meta.classes).generator
    generator.load_state_dict(state["best_generator"])
    random = Streams(derive(seed, "generate"))
    prior = trial.prior.make()
    z = prior.shown(n, random["latents"])
    if way is not None:
        other = prior.shown(n, random["latents"])
        t = torch.linspace(0, 1, steps)[:, None, None]
        z = way.make()(z, other, t).transpose(0, 1).flatten(0, 1)
    label = labels_like(store.labels, n, random["labels"])
    if label is not None:
        label = label.repeat_interleave(steps)
    return samples_of(generator, z, label, derive(seed, "generate", "noise"))
