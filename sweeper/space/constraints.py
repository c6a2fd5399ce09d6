"""Constraints: expressions over a trial's paths that every draw must satisfy.

They are read, and never executed: there is arithmetic on numbers and nothing that could be called.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.space.holes import at
from sweeper.space.merge import slots

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


@dataclass(frozen=True)
class Constraint:
    """An expression such as ``schedule.alternating_update.d_steps * batch.size <= 640``."""

    text: str
    tree: ast.expr
    paths: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Raises ValueError for anything but arithmetic, comparisons, and/or/not, constants and
        paths."""
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            return cls(text, tree, frozenset(_paths(tree)))
        except SyntaxError as error:
            raise ValueError(f"a constraint is an expression, but: {error.msg}") from None
        except (RecursionError, MemoryError):
            raise ValueError("a constraint is short, but this one nests too deeply") from None

    def holds(self, trial: Mapping[str, Any]) -> bool:
        """Whether a trial (plain data) satisfies it. One that speaks of a branch the trial lacks
        holds. Raises ValueError where it computes with what is not a number."""
        try:
            return bool(_value(self.tree, dict(trial)))
        except LookupError:
            return True
        except ZeroDivisionError:
            raise ValueError("it divides by zero") from None
        except TypeError:
            raise ValueError("it orders or computes with what is not a number") from None


def _paths(node: ast.expr) -> set[str]:
    match node:
        case ast.Name() | ast.Attribute():
            return {_dotted(node)}
        case ast.Constant(value=bool() | int() | float() | str()):
            return set()
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _paths(left) | _paths(right)
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            return _paths(operand)
        case ast.BoolOp(values=values):
            return set().union(*(_paths(v) for v in values))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in COMPARE for op in ops
        ):
            return _paths(left).union(*(_paths(v) for v in others))
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return set().union(*(_paths(v) for v in items))
    made_of = "paths, constants, + - * / // %, comparisons, and, or, not"
    raise ValueError(f"a constraint is made of {made_of}, but got {ast.unparse(node)!r}")


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value)}.{attr}"
    raise ValueError(f"a path is names joined by dots, but got {ast.unparse(node)!r}")


def _value(node: ast.expr, trial: dict[str, Any]) -> Any:
    match node:
        case ast.Name() | ast.Attribute():
            return _named(trial, _dotted(node))
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return BINARY[type(op)](_number(_value(left, trial)), _number(_value(right, trial)))
        case ast.UnaryOp(op=op, operand=operand):
            value = _value(operand, trial)
            return -_number(value) if isinstance(op, ast.USub) else not value
        case ast.BoolOp(op=op, values=values):
            parts = (_value(v, trial) for v in values)
            return all(parts) if isinstance(op, ast.And) else any(parts)
        case ast.Compare(left=left, ops=ops, comparators=others):
            terms = [_value(v, trial) for v in (left, *others)]
            return all(
                COMPARE[type(op)](a, b) for op, a, b in zip(ops, terms, terms[1:], strict=False)
            )
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(v, trial) for v in items]
    raise AssertionError(f"parsed, but not evaluated: {ast.dump(node)}")


def _number(value: Any) -> Any:
    """Text and lists would multiply into something enormous."""
    if isinstance(value, int | float):
        return value
    raise TypeError


def _named(trial: dict[str, Any], path: str) -> Any:
    """What stands at a path: a technique is true, and a slot is the name of what it holds, or all
    names, so that ``loss == 'hinge'`` and ``'ema' in tricks`` read as meant."""
    value = at(trial, path)
    slot = slots().get(("trial", *path.split(".")))
    if isinstance(value, dict) and slot is not None:
        return list(value) if slot.several else next(iter(value))
    return True if isinstance(value, dict) else value
