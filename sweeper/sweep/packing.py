"""How much of a GPU a trial is given, and how many trials run at once.

One trial is measured on each type of GPU before the sweep; the share is what its memory, the CPUs
and the time that it leaves the GPU idle allow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from sweeper.config import Trial
from sweeper.sweep.plan import Plan, some_draws
from sweeper.trial.device import CONTEXT
from sweeper.trial.networks import build

FRAGMENTED = 1.15
"""How much more memory a process holds at most than the probe of it did: other draws, and holes."""
DRAWS, MEASURED = 32, 3
"""Draws of the space that are weighed, and how many of the heaviest are measured."""
FINEST = 10_000
"""Ray counts resources in ten-thousandths."""

Say = Callable[[str], None]
Resources = Mapping[str, float]


@dataclass(frozen=True)
class Need:
    """What the heaviest of some trials was seen to take of a GPU.

    ``memory`` are the bytes that it reserved at most, ``usable`` those that trials can have there,
    and ``busy`` is the share of the time in which the GPU computed.
    """

    gpu: str
    usable: int
    memory: int
    busy: float


@dataclass(frozen=True)
class Kind:
    """The nodes of one type of GPU: one of them, and the CPUs that there are for each GPU."""

    name: str
    node: str
    cpus_per_gpu: float


Measure = Callable[[Kind | None, Sequence[Trial]], Need | None]
"""Trains trials on a kind of node, or on whichever comes; None where that cannot be."""


def share(need: Need, cpus_per_gpu: float, cpus: int) -> float:
    """The share of a GPU that a trial needs: one over how many go on it together.

    That is as many as fit its memory, each with a context of its own, and as have their CPUs; and
    no more than fill its time. A trial that does not fit with another has it alone.
    """
    fit = need.usable // (round(need.memory * FRAGMENTED) + CONTEXT)
    fill = math.ceil(1 / max(need.busy, 1 / FINEST))
    return portion(max(1, min(fit, fill, int(cpus_per_gpu // cpus))))


def portion(k: int) -> float:
    """One over ``k``, rounded down so that ``k`` of them fit on one GPU as Ray counts."""
    return math.floor(FINEST / k) / FINEST


def on_one(portion: float) -> int:
    """How many trials of a share go on one GPU."""
    return int((1 + 1 / FINEST) // portion)


def room(nodes: Sequence[Resources], cpus: int, gpus: float) -> int:
    """How many trials run at once on nodes of these resources, each with its CPUs and its GPUs."""
    return sum(room_on(node, cpus, gpus) for node in nodes)


def room_on(node: Resources, cpus: int, gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0) // cpus)
    if gpus == 0:
        return by_cpu
    whole = int(node.get("GPU", 0))
    return min(by_cpu, whole * on_one(gpus) if gpus <= 1 else int(whole // gpus))


@dataclass(frozen=True)
class Confined:
    """Where trials may run, by node id, and how many at once. Anywhere if it names no nodes."""

    nodes: frozenset[str] | None
    trials: int


def confine(nodes: Mapping[str, Resources], most: int, cpus: int, gpus: float) -> Confined:
    """Where trials may run that are to hold at most so many GPUs at any time.

    Ray fills a GPU before it opens the next one of a node, but spreads over nodes. So whole nodes
    are taken while they fit; where not even one does, part of the smallest, which holds no more
    GPUs than that many trials fill.
    """
    with_gpus = {node: each for node, each in nodes.items() if each.get("GPU", 0) >= 1}
    if sum(each["GPU"] for each in with_gpus.values()) <= most:
        return Confined(None, room(list(nodes.values()), cpus, gpus))
    taken, left = set[str](), most
    for node in sorted(with_gpus, key=lambda node: (-with_gpus[node]["GPU"], node)):
        if with_gpus[node]["GPU"] <= left:
            taken.add(node)
            left -= int(with_gpus[node]["GPU"])
    if taken:
        return Confined(frozenset(taken), room([with_gpus[n] for n in taken], cpus, gpus))
    smallest = min(with_gpus, key=lambda node: (with_gpus[node]["GPU"], node))
    part = {**with_gpus[smallest], "GPU": most}
    return Confined(frozenset({smallest}), room_on(part, cpus, gpus))


def choose(plan: Plan, nodes: Mapping[str, Resources], measure: Measure, say: Say) -> float:
    """The share of a GPU for each trial of a sweep, measured on every type of GPU there is: the
    smallest that does for all of them. Tells in a line how it came about.

    Where nothing could be measured, each trial has a GPU to itself.
    """
    trials = heaviest(plan)
    found = list[tuple[Need, float]]()
    there: Sequence[Kind | None] = kinds(nodes) or [None]
    for kind in there:
        need = measure(kind, trials)
        if need is not None:
            per_gpu = kind.cpus_per_gpu if kind else math.inf
            found.append((need, share(need, per_gpu, plan.space.resources.cpu)))
    if not found:
        say("no trial could be measured on a GPU: each has one to itself")
        return 1.0
    chosen = max(portion for _, portion in found)
    for need, _ in found:
        say(f"{described(need)}: {on_one(chosen)} trials to a GPU")
    return chosen


def described(need: Need) -> str:
    memory = f"{need.memory / 2**30:.1f} of {need.usable / 2**30:.1f} GiB"
    return f"a trial takes {memory} of a {need.gpu} and {need.busy:.0%} of its time"


def kinds(nodes: Mapping[str, Resources]) -> list[Kind]:
    """The types of GPU among nodes, each with the node of it that has the fewest CPUs for each."""
    found: dict[str, Kind] = {}
    for node, resources in nodes.items():
        if (gpus := resources.get("GPU", 0)) < 1:
            continue
        types = (r.partition(":")[2] for r in resources if r.startswith("accelerator_type:"))
        kind = Kind(next(types, "GPU"), node, resources.get("CPU", 0) / gpus)
        known = found.get(kind.name)
        if known is None or kind.cpus_per_gpu < known.cpus_per_gpu:
            found[kind.name] = kind
    return list(found.values())


def heaviest(plan: Plan) -> list[Trial]:
    """The trials that weigh most among some draws of a space: parameters times batch."""

    def weight(trial: Trial) -> int:
        with torch.device("meta"):
            built = build(trial, plan.store.meta.shape, plan.store.meta.known)
        networks = [network for pair in built.networks.values() for network in pair]
        return trial.batch.size * sum(p.numel() for net in networks for p in net.parameters())

    drawn = [trial for _, trial in some_draws(plan, DRAWS)]
    return sorted(drawn, key=weight, reverse=True)[:MEASURED]
