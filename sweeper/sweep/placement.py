"""What a trial asks Ray for. Workers import this before their trial, so that it is light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import PlacementGroupFactory


def placed(resources: dict[str, float], nodes: frozenset[str] | None) -> PlacementGroupFactory:
    """What a trial is given, and where: on some nodes, or on any."""
    bundle = {name.upper(): amount for name, amount in resources.items()}
    if nodes is None:
        return PlacementGroupFactory([bundle])
    chosen = {"ray.io/node-id": f"in({','.join(sorted(nodes))})"}
    return PlacementGroupFactory([bundle], bundle_label_selector=[chosen])


def requested(
    cpus: int, nodes: frozenset[str] | None
) -> Callable[[dict[str, Any]], PlacementGroupFactory]:
    """What each trial asks Ray for: one that ran out of memory asks for more than the others."""
    return lambda config: placed({"cpu": cpus, "gpu": config["job"]["gpu"]}, nodes)
