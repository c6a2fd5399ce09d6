"""Laying one tree upon another: a space upon what it extends, and ``--set`` upon that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from sweeper.config import Slot, Trial, Where
from sweeper.space.compile import is_hole, part_of, slot_of


@cache
def slots(model: type[BaseModel] = Trial, path: Where = ("trial",)) -> Mapping[Where, Slot]:
    """The places for techniques in a trial, by path."""
    found: dict[Where, Slot] = {}
    for name, field in model.model_fields.items():
        slot, part = slot_of(field), part_of(field)
        if slot is not None:
            found[(*path, name)] = slot
        if part is not None:
            found |= slots(part, (*path, name))
    return found


def merge(base: Any, over: Any, path: Where = ()) -> Any:
    """``over`` laid upon ``base``: mappings merge, everything else is replaced.

    So is a mapping by a hole, and one technique by another where only one can stand.
    """
    slot = slots().get(path)
    if slot is not None:
        base, over = _spelled_out(base), _spelled_out(over)
    if not isinstance(base, dict) or not isinstance(over, dict) or is_hole(base) or is_hole(over):
        return over
    if slot is not None and not slot.several and base.keys() != over.keys():
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(base[key], value, (*path, key)) if key in base else value
    return merged


def _spelled_out(value: Any) -> Any:
    """A slot as a mapping from techniques to knobs, whichever way it was written."""
    match value:
        case str():
            return {value: {}}
        case list() if all(isinstance(name, str) for name in value):
            return {name: {} for name in value}
        case dict() if not is_hole(value):
            return {name: {} if knobs in (None, True) else knobs for name, knobs in value.items()}
    return value


def put(tree: dict[str, Any], path: Where, value: Any) -> dict[str, Any]:
    """The same tree with another value at a path, made where it was not."""
    for key in reversed(path):
        value = {key: value}
    merged = merge(tree, value)
    assert isinstance(merged, dict)
    return merged
