"""How large a cluster may grow. Ray 2.60 tells its drivers nothing of it, neither with its first
autoscaler nor with its second: only the autoscaler's own process, on the head, is told by a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Resources = Mapping[str, float]


def at_most(present: Sequence[Resources], gcs: str) -> list[Resources]:
    """The resources of every node of a cluster at its largest, given those of the nodes present.

    They are those present where nothing is known: on a cluster that does not scale, off its head,
    or where the autoscaler runs elsewhere, as on Kubernetes.
    """
    file = config_file(gcs)
    if file is None:
        return list(present)
    try:
        config = YAML(typ="safe").load(file)
    except (OSError, YAMLError):
        return list(present)
    return largest(config, present) if isinstance(config, dict) else list(present)


def config_file(gcs: str, processes: Path = Path("/proc")) -> Path | None:
    """The file that the autoscaler on this machine was started with, if it serves that address."""
    for folder in processes.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        said = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if said.get("--gcs-address") == gcs and "--autoscaling-config" in said:
            return Path(os.path.expanduser(said["--autoscaling-config"]))
    return None


def largest(config: Mapping[str, Any], present: Sequence[Resources]) -> list[Resources]:
    """The nodes of a cluster at its largest, by its configuration: the head, and as many workers of
    each type as there may be, those with most GPUs and CPUs first.

    Of a type whose resources are only found when it starts, a node is like the largest present.
    """
    types = config.get("available_node_types", {})
    biggest = max(present, key=size, default={})
    workers = [
        node.get("resources") or biggest
        for node in types.values()  # the head's own too: machines of one's own have no other
        for _ in range(node.get("max_workers", 0))
    ]
    workers.sort(key=size, reverse=True)
    heads = [node for node in present if is_head(node)]
    grown = [*heads, *workers[: config.get("max_workers", 0)]]
    return grown if len(grown) >= len(present) else list(present)


def is_head(node: Resources) -> bool:
    return "node:__internal_head__" in node


def size(node: Resources) -> tuple[float, float]:
    return node.get("GPU", 0), node.get("CPU", 0)
