"""Putting a space together from the files it extends and the preset of its data."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from sweeper.config import Slot, Trial, Where
from sweeper.space.compile import is_hole


def slots(model: type[BaseModel] = Trial, path: Where = ("trial",)) -> dict[Where, Slot]:
    """The places for techniques in a trial, by path."""
    found: dict[Where, Slot] = {}
    for name, field in model.model_fields.items():
        for slot in field.metadata:
            if isinstance(slot, Slot):
                found[(*path, name)] = slot
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= slots(kind, (*path, name))
    return found


def merge(base: Any, over: Any, path: Where = ()) -> Any:
    """``over`` laid upon ``base``: mappings merge, everything else is replaced.

    So is a mapping by a hole, and one technique by another where only one can stand.
    """
    slot = slots().get(path)
    if slot is not None:
        base, over = _named(base), _named(over)
        if (
            slot.holds != "many"
            and isinstance(base, dict)
            and isinstance(over, dict)
            and base.keys() != over.keys()
        ):
            return over
    if not isinstance(base, dict) or not isinstance(over, dict) or is_hole(base) or is_hole(over):
        return over
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(base[key], value, (*path, key)) if key in base else value
    return merged


def _named(value: Any) -> Any:
    return {value: {}} if isinstance(value, str) else value


def put(tree: dict[str, Any], path: Where, value: Any) -> dict[str, Any]:
    """The same tree with another value at a path, made where it was not."""
    for key in reversed(path):
        value = {key: value}
    merged = merge(tree, value)
    assert isinstance(merged, dict)
    return merged
