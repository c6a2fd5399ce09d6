"""How other tools write a range or a choice, and how it is written here.

Nothing is accepted in two spellings: who brings one from W&B, Optuna, Ray or Hydra is shown ours.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from sweeper.config import show

Rewrite = Callable[..., dict[str, Any]]


def _range(kind: str, low: Any, high: Any, step: Any = None) -> dict[str, Any]:
    return {kind: [low, high]} | ({} if step in (None, 1) else {"step": step})


def _options(*options: Any) -> dict[str, Any]:
    first = options[0] if options else []
    return {"choice": list(first) if isinstance(first, list | tuple) else list(options)}


def _suggest_float(
    low: Any, high: Any, *, step: Any = None, log: bool = False, **_: Any
) -> dict[str, Any]:
    return _range("loguniform" if log else "uniform", low, high, step)


def _suggest_int(
    low: Any, high: Any, *, step: Any = None, log: bool = False, **_: Any
) -> dict[str, Any]:
    return _range("logint" if log else "int", low, high, step)


# Ray's randint and Python's range leave the upper bound out, and W&B's log_uniform is of exponents.
CALLS: dict[str, Rewrite] = {
    "uniform": lambda low, high: _range("uniform", low, high),
    "loguniform": lambda low, high: _range("loguniform", low, high),
    "quniform": lambda low, high, q: _range("uniform", low, high, q),
    "randint": lambda low, high: _range("int", low, high - 1),
    "lograndint": lambda low, high: _range("logint", low, high - 1),
    "qrandint": lambda low, high, q: _range("int", low, high, q),
    "range": lambda low, high: _range("int", low, high - 1),
    "interval": lambda low, high: _range("uniform", low, high),
    "int": lambda low, high: _range("int", low, high),
    "logint": lambda low, high: _range("logint", low, high),
    "choice": _options,
    "grid_search": _options,
    "suggest_float": lambda name, low, high, **more: _suggest_float(low, high, **more),
    "suggest_int": lambda name, low, high, **more: _suggest_int(low, high, **more),
    "suggest_categorical": lambda name, *options: _options(*options),
}
DISTRIBUTIONS: dict[str, Rewrite] = {
    "uniform": _suggest_float,
    "log_uniform": lambda low, high: _range("loguniform", *map(_exp, (low, high))),
    "log_uniform_values": lambda low, high: _range("loguniform", low, high),
    "int_uniform": _suggest_int,
    "q_uniform": _suggest_float,
    "loguniform": lambda low, high: _range("loguniform", low, high),
    "float": _suggest_float,
    "int": _suggest_int,
}
BOUNDS = {"min": "low", "max": "high", "lower": "low", "upper": "high", "q": "step"}
OPTIONS = ("values", "choices", "options", "grid_search")
NAMES = ("distribution", "type")


def ours(value: object) -> str | None:
    """What another tool's range or choice is written as here; None when it is no such thing."""
    try:
        match value:
            case str():
                found = _called(value)
            case Mapping():
                found = _described(dict(value))
            case _:
                found = None
    except (TypeError, ValueError, OverflowError):  # not that tool's spelling after all
        return None
    return None if found is None else show(found)


def _called(text: str) -> dict[str, Any] | None:
    """``tune.loguniform(1e-5, 1e-2)``"""
    if not re.fullmatch(r"\s*[\w.]+\(.*\)\s*", text, re.DOTALL):
        return None
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        return None
    match call:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in CALLS:
            more = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
            return CALLS[name](*map(_literal, call.args), **more)
    return None


def _literal(node: ast.expr) -> Any:
    """A constant of a call; Hydra leaves the quotes off its words."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _described(value: dict[str, Any]) -> dict[str, Any] | None:
    """``{distribution: log_uniform_values, min: 1e-5, max: 1e-2}``"""
    options = next((value[key] for key in OPTIONS if isinstance(value.get(key), list)), None)
    if options is not None:
        return {"choice": options}
    more = bounds({key: child for key, child in value.items() if key not in NAMES})
    if not {"low", "high"} <= more.keys():
        return None
    whole = isinstance(more["low"], int) and isinstance(more["high"], int)
    name = next((str(value[key]) for key in NAMES if key in value), "int" if whole else "float")
    return DISTRIBUTIONS[name](**more) if name in DISTRIBUTIONS else None


def bounds(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping of bounds with the names that they have here."""
    return {BOUNDS.get(key, key): child for key, child in value.items()}


def _exp(exponent: float) -> float:
    return float(f"{math.exp(exponent):.3g}")
