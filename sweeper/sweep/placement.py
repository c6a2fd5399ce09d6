"""What a trial asks Ray for. Workers import this before their trial, so that it is light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune import PlacementGroupFactory

NODE = "ray.io/node-id"


def placed(
    resources: dict[str, float], nodes: frozenset[str] | None, unfit: Sequence[str] = ()
) -> PlacementGroupFactory:
    """What a trial is given, and where: on some nodes, or on any that is not ``unfit``."""
    bundle = {name.upper(): amount for name, amount in resources.items()}
    if nodes is not None:
        where = f"in({','.join(sorted(nodes))})"
    elif unfit:
        where = f"!in({','.join(unfit)})"
    else:
        return PlacementGroupFactory([bundle])
    return PlacementGroupFactory([bundle], bundle_label_selector=[{NODE: where}])


def requested(
    cpus: int, nodes: frozenset[str] | None
) -> Callable[[dict[str, Any]], PlacementGroupFactory]:
    """What each trial asks Ray for: one that ran out of memory asks for more than the others, and
    one that begins after a node was found unfit avoids it."""
    return lambda config: placed({"cpu": cpus, "gpu": config["job"]["gpu"]}, nodes, config["unfit"])
