"""One trial trained for a moment, to see what it takes of a GPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sweeper.config import Trial
from sweeper.space.use import Used
from sweeper.sweep.packing import Kind, Measure, Need, Say
from sweeper.sweep.plan import Plan
from sweeper.trial.loop import Training

WARM, ROUNDS = 4, 16
"""Rounds before measuring, in which kernels are chosen, and rounds that are measured."""
PATIENCE = 120.0
"""Seconds that a measurement may take on a node that is there."""
STARTING = 1200.0
"""Seconds that it may take when a node has to be started for it."""
CORNER = 0.05
"""How much of a GPU is asked for where none is free as a whole: others' sweeps are on it."""


def on_ray(plan: Plan, say: Say) -> Measure:
    """Measures on the Ray that this process has joined, in a process of its own there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task: Any = ray.remote(num_cpus=0, max_retries=0)(probe)
    cpus, use = plan.space.resources.cpu, [(used.name, used.source) for used in plan.use]

    def measure(kind: Kind | None, trials: Sequence[Trial]) -> Need | None:
        alone = kind is None or free(kind.node) >= 1
        options: dict[str, Any] = {"num_gpus": 1.0 if alone else CORNER}
        if kind is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(kind.node, soft=False)
        plain = [trial.plain() for trial in trials]
        sent = task.options(**options).remote(plain, str(plan.cache), cpus, use, alone)
        try:
            found = ray.get(sent, timeout=PATIENCE if kind else STARTING)
        except Exception as error:  # whatever it is, a whole GPU does without the measurement
            ray.cancel(sent, force=True)
            reason = str(error).strip().rpartition("\n")[2]
            say(f"warning: no trial was measured on {kind.name if kind else 'a GPU'}: {reason}")
            return None
        return Need(**found) if found else None

    return measure


def free(node: str) -> float:
    """How many GPUs of a node nobody has."""
    from ray._private.state import available_resources_per_node

    per_node = available_resources_per_node()  # type: ignore[no-untyped-call]
    return float(per_node.get(node, {}).get("GPU", 0.0))


def probe(
    trials: Sequence[dict[str, Any]],
    cache: str,
    cpus: int,
    use: Sequence[tuple[str, str]],
    alone: bool,
) -> dict[str, Any] | None:
    """What the heaviest of some trials takes of this process's GPU; None if it has none.

    ``alone`` says that nobody else is there by Ray's leave, so that memory in use is lost to us.
    """
    if not torch.cuda.is_available():
        return None
    for name, source in use:
        Used(name, source).load()
    unused, total = torch.cuda.mem_get_info()
    worst = max(trials, key=lambda trial: taken(Training(Trial.read(trial), Path(cache))))
    training = Training(Trial.read(worst), Path(cache), threads=cpus)
    memory = taken(training)
    busy = occupied(training)
    training.evaluator.judge(training.gan.eval_generator(), training.gan.prior)
    memory = max(memory, torch.cuda.max_memory_reserved())
    usable = unused if alone else total
    return asdict(Need(torch.cuda.get_device_name(), usable, memory, busy))


def taken(training: Training) -> int:
    """The bytes that a trial reserves at most in some rounds."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM):
        training.round()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_reserved()


def occupied(training: Training) -> float:
    """The share of the time of some rounds in which the GPU computes."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        for _ in range(ROUNDS):
            training.round()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    computed = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6
    return float(min(1.0, computed / seconds))
