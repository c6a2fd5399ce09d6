"""Some trials of a space trained for a moment on this machine: how fast they go, and what each of
them leaves on the disk and in MLflow."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sweeper.config import Trial
from sweeper.ledger.ledger import Event, Record
from sweeper.space.baselines import Baseline
from sweeper.space.source import InputError
from sweeper.sweep.forecast import Pace
from sweeper.sweep.mlflow_runs import of_trial
from sweeper.sweep.plan import Plan, Progress, some_draws
from sweeper.trial.loop import Diverged, Training, show

SECONDS, TRIALS, WARM = 12.0, 4, 4
"""How long each trial is tried, how many are, and rounds before one is timed."""
TRAINING = 0.7
"""The share of its time in which a trial is trained; in the rest it is made and measured."""


@dataclass(frozen=True)
class Tried:
    """What one trial took: its speed in images a second and, in images of a trial that has the
    horizon of the plan, its pace; the bytes of a checkpoint, of a sheet of samples and of an
    entry in the ledger, the values that MLflow holds of a measurement, and, where there is a GPU,
    the bytes that it reserved there."""

    trial: Trial
    speed: float
    pace: Pace
    checkpoint: int
    sheet: int
    entry: int
    values: int
    gpu_memory: int


def tried(plan: Plan, progress: Progress, seconds: float = SECONDS) -> list[Tried]:
    """Train a few trials of a plan for so many seconds each: the first of its baselines, or its
    plainest, and some draws. Raises InputError when all of them diverge at once."""
    first = plan.space.baselines[:1] or (Baseline("", {}),)
    trials = [plan.space.baseline(first[0])[1]]
    trials += [trial for _, trial in some_draws(plan, TRIALS - 1)]
    found = list[Tried]()
    for n, trial in enumerate(trials):
        progress("trying trials", n, len(trials))
        try:
            found.append(once(plan, trial, seconds))
        except Diverged:
            continue
    progress("trying trials", len(trials), len(trials))
    if not found:
        raise InputError([f"--probe trains a few trials, but all {len(trials)} of them diverge"])
    return found


def faster(plan: Plan, tries: Sequence[Tried], seconds: float = SECONDS) -> float | None:
    """How many times as fast the first trial is in bfloat16; None where it is so already, or the
    space says which precision there is."""
    first = tries[0]
    if first.trial.precision != "float32" or "precision" in plan.space.source.tree["trial"]:
        return None
    try:
        other = once(plan, first.trial.model_copy(update={"precision": "bfloat16"}), seconds)
    except Diverged:
        return None
    return other.speed / first.speed


def once(plan: Plan, trial: Trial, seconds: float) -> Tried:
    """Train a trial for so many seconds, and measure it once."""
    begun = time.monotonic()
    # It measures when it is told to: after a round, and not after a ninth of the budget.
    often = trial.evaluation.model_copy(update={"every_kimg": trial.batch.size / 1000})
    short = trial.model_copy(update={"evaluation": often})
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    training = Training(short, plan.cache, threads=plan.space.resources.cpu)
    for _ in range(WARM):
        training.round()
    settle(training)
    start, images = time.monotonic(), training.progress.images
    starting = start - begun
    while time.monotonic() - start < TRAINING * seconds or training.progress.images == images:
        training.round()
    settle(training)
    speed = (training.progress.images - images) / (time.monotonic() - start)
    before = training.progress.images
    measured = training.advance()
    measuring = measured.seconds - (measured.images - before) / speed
    full = measuring * plan.full_protocol.fake / plan.protocol.fake
    with TemporaryDirectory() as folder:
        show(training, Path(folder), measured)
        (sheet,) = Path(folder, "samples").iterdir()
        sheet_bytes = sheet.stat().st_size
    buffer = io.BytesIO()
    torch.save(training.state_dict(), buffer)
    event = Event(1, 0, 1, "measured", measured.images, measured.score, None, measured.plain(), 0.0)
    record = Record(0, None, {}, trial.plain(), 0.0, [event])
    held = of_trial(plan.plain(), plan.folder, record, closing=True)
    return Tried(
        trial,
        speed,
        Pace(
            speed * plan.horizon / (1000 * trial.horizon_kimg),
            max(measuring, 0.0),
            max(full, 0.0),
            starting,
        ),
        buffer.tell(),
        sheet_bytes,
        len(json.dumps(event.data)),
        len(held.metrics),
        torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0,
    )


def settle(training: Training) -> None:
    """Wait for what the device has been told to do."""
    if training.device.type == "cuda":
        torch.cuda.synchronize()
