"""What a Ray that was joined is found to have, and how a sweep's trials are laid out on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.sweep.autoscaler import at_most
from sweeper.sweep.packing import Confined, Resources, Say, choose, confine, on_one, room
from sweeper.sweep.plan import Plan
from sweeper.sweep.preflight import alive
from sweeper.sweep.where import ClusterError


@dataclass(frozen=True)
class Layout:
    """What a trial of a sweep is given, how many run at once, and on which nodes (None: on all)."""

    cpus: int
    gpus: float
    trials: int
    nodes: frozenset[str] | None = None

    def __str__(self) -> str:
        together = "1 trial" if self.trials == 1 else f"{self.trials} trials"
        if 0 < self.gpus < 1:
            return f"{together} at a time, {on_one(self.gpus)} to a GPU"
        return f"{together} at a time"


def arrange(plan: Plan, max_gpus: int | None, say: Say) -> Layout:
    """Lay out a sweep on the Ray that this process has joined: on what is there, or will be once
    its autoscaler has seen how much is waiting. Raises ClusterError when there is no room."""
    import ray

    present = {node: each["Resources"] for node, each in alive().items()}
    largest = at_most(list(present.values()), ray.get_runtime_context().gcs_address)
    scales = len(largest) > len(present)
    gpus = share_of(plan, present, any(node.get("GPU", 0) >= 1 for node in largest), say)
    cpus = plan.space.resources.cpu
    whole = Confined(None, room(largest, cpus, gpus))
    layout = confined(present, whole, max_gpus, cpus, gpus, scales=scales) if gpus else whole
    asked = plan.space.resources.concurrent
    trials = asked or layout.trials
    if max_gpus is not None:
        trials = min(trials, layout.trials)
    if trials < 1:
        needs = f"{cpus} CPUs and {gpus:g} GPUs" if gpus else f"{cpus} CPUs"
        law = f"a trial has room on some node, but each takes {needs}"
        hint = "if nodes are yet to come, say how many: --set resources.concurrent=8"
        raise ClusterError(f"{law}, and no node has that many; {hint}")
    return Layout(cpus, gpus, trials, layout.nodes)


def share_of(plan: Plan, present: Mapping[str, Resources], gpus: bool, say: Say) -> float:
    """The GPUs for each trial: as the space says, or as measured where there are any."""
    asked = plan.space.resources.gpu
    if asked != "auto":
        return asked
    ranks = plan.space.resources.processes
    if not gpus or ranks > 1:
        return float(ranks) if gpus else 0.0
    from sweeper.sweep.probing import on_ray

    return choose(plan, present, on_ray(plan, say), say)


def confined(
    present: Mapping[str, Resources],
    whole: Confined,
    most: int | None,
    cpus: int,
    gpus: float,
    *,
    scales: bool,
) -> Confined:
    """Where trials run that are to hold at most so many GPUs.

    On nodes yet to come they cannot be kept together: their shares make up no more GPUs than that,
    but may lie on others, too.
    """
    if most is None:
        return whole
    if scales:
        together = most * on_one(gpus) if gpus <= 1 else int(most // gpus)
        return Confined(None, min(whole.trials, together))
    found = confine(present, most, cpus, gpus)
    return Confined(found.nodes, min(whole.trials, found.trials))
