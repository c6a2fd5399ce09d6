"""Equality of whole training states, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

CLOCKS = frozenset({"seconds", "images_per_second"})


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Where two states differ; what a clock measured is left out."""
    if type(a) is not type(b):
        yield f"{path}: {type(a).__name__} and {type(b).__name__}"
    elif isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or not torch.equal(a, b):
            yield path
    elif isinstance(a, dict):
        if list(a) != list(b):
            yield f"{path}: {list(a)} and {list(b)}"
        for key in set(a) & set(b) - CLOCKS:
            yield from differences(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            yield f"{path}: {len(a)} and {len(b)} items"
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{path}.{i}")
    elif a != b:
        yield f"{path}: {a} and {b}"
