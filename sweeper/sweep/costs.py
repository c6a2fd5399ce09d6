"""What a sweep will cost on this machine, in lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import torch

from sweeper.sweep.board import duration
from sweeper.sweep.describe import amount
from sweeper.sweep.drive import KEPT
from sweeper.sweep.forecast import Cost, Forecast, Shape, forecast
from sweeper.sweep.pacing import Tried, faster, tried
from sweeper.sweep.packing import Need, heaviest, room, share
from sweeper.sweep.plan import Plan, Progress
from sweeper.sweep.probing import probe
from sweeper.trial.checkpoint import KEEP

PAYS = 1.1
"""How many times as fast another precision has to be before it is recommended."""


def costs(plan: Plan, price: float | None, progress: Progress) -> Iterator[str]:
    """Train a few trials of a sweep for a minute, and say what all of it will take: hours, money at
    a ``price`` for an hour of this machine, disk, and what MLflow will hold."""
    tries = tried(plan, progress)
    shape = shape_of(plan, together(plan))
    found = forecast(shape, [one.pace for one in tries])
    yield from paces(tries)
    yield f"\n{shape.runs} runs, {shape.together} at a time on this machine"
    yield from hours(found)
    if price is not None:
        low, high = (found.at(0.5).wall * price, found.worst.wall * price)
        yield f"  {low:,.2f} at {price:g} for an hour of this machine, at worst {high:,.2f}"
    yield from kept(plan, shape, found, tries)
    gain = faster(plan, tries)
    if gain is not None and gain >= PAYS:
        yield f"  in bfloat16 a trial goes {gain:.1f} times as fast: --set precision=bfloat16"


def shape_of(plan: Plan, at_once: int) -> Shape:
    """A plan as far as its cost goes."""
    runs, seeds = plan.agenda.runs, plan.space.search.seeds
    search, baselines = plan.trials * seeds, len(plan.space.baselines) * seeds
    return Shape(
        judged=search - baselines,
        first=baselines,
        whole=runs - search,
        rungs=plan.rungs,
        factor=plan.factor,
        horizon=plan.horizon,
        every=plan.every,
        together=at_once,
        brackets=brackets(plan),
    )


def brackets(plan: Plan) -> int:
    """How many groups of trials are judged among themselves."""
    by = plan.space.brackets
    return next((len(p["choices"]) for p in plan.space.parameters if p["name"] == by), 1)


def together(plan: Plan) -> int:
    """How many trials run at once on this machine."""
    asked, cpus = plan.space.resources, len(os.sched_getaffinity(0))
    if asked.concurrent is not None:
        return asked.concurrent
    gpus, portion = torch.cuda.device_count(), asked.gpu
    if gpus == 0:
        portion = 0.0
    elif portion == "auto":
        portion = (
            float(asked.processes) if asked.processes > 1 else measured_share(plan, cpus / gpus)
        )
    return max(1, room([{"CPU": cpus, "GPU": gpus}], asked.cpu, portion))


def measured_share(plan: Plan, cpus_per_gpu: float) -> float:
    """The share of this machine's GPU that the heaviest of some trials needs."""
    use = [(used.name, used.source) for used in plan.use]
    plain = [trial.plain() for trial in heaviest(plan)]
    found = probe(plain, str(plan.cache), plan.space.resources.cpu, use, alone=True)
    return share(Need(**found), cpus_per_gpu, plan.space.resources.cpu) if found else 1.0


def paces(tries: Sequence[Tried]) -> Iterator[str]:
    """What the trials took that were tried."""
    yield f"\n{len(tries)} trials were tried on this machine, one after another"
    each = [t.pace for t in tries]
    yield f"  {between([t.speed for t in tries], ',.0f')} images a second in training"
    yield f"  {between([p.starting for p in each], '.2g')} s to begin"
    yield f"  {between([p.measuring for p in each], '.2g')} s for a measurement"
    yield f"  {between([p.ending for p in each], '.2g')} s for the one at the end"
    if memory := max(t.gpu_memory for t in tries):
        yield f"  up to {amount(memory)} of the GPU's memory"


def hours(found: Forecast) -> Iterator[str]:
    """How long it takes, and how surely."""
    low, middle, high = (found.at(share) for share in (0.1, 0.5, 0.9))
    yield f"  expected: {took(middle)}, {middle.share:.0%} of the images of full trials"
    yield f"    in 8 of 10 sweeps {clock(low.worker)} to {clock(high.worker)} of work"
    yield f"  at worst: {took(found.worst)}, if none is stopped and all are the slowest"


def took(cost: Cost) -> str:
    return f"{clock(cost.worker)} of work, {clock(cost.wall)} on the clock"


def kept(plan: Plan, shape: Shape, found: Forecast, tries: Sequence[Tried]) -> Iterator[str]:
    """What it leaves on the disk and in MLflow."""
    checkpoint = KEEP * max(t.checkpoint for t in tries)
    best = min(shape.runs, KEPT + shape.first + plan.space.confirm.seeds)
    sheets = found.measurements * max(t.sheet for t in tries)
    ledger = found.measurements * max(t.entry for t in tries)
    yield f"  disk: checkpoints {amount(shape.runs * checkpoint)} until it is complete,"
    yield f"    then {amount(best * checkpoint)}; samples {amount(sheets)}, ledger {amount(ledger)}"
    values = found.measurements * max(t.values for t in tries)
    yield f"  MLflow: {shape.runs + 1} runs with about {values:,.0f} values"


def between(values: Sequence[float], form: str) -> str:
    """The least and the most of some numbers."""
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def clock(hours: float) -> str:
    """A time in hours as the live view shows times."""
    return duration(3600 * hours)
