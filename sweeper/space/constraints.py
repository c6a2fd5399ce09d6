"""Constraints: expressions over a trial's paths that every draw must satisfy. They are read, never executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.space.holes import at

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
        """Raises ValueError for anything but arithmetic, comparisons, and/or/not, constants and paths."""
        try:
            tree = ast.parse(text, mode="eval").body
        except SyntaxError as error:
            raise ValueError(
                f"a constraint is an expression, but {text!r} is not: {error.msg}"
            ) from None
        return cls(text, tree, frozenset(_paths(tree, text)))

    def holds(self, trial: Mapping[str, Any]) -> bool:
        """Whether a trial (plain data) satisfies it. One that speaks of a branch the trial lacks holds."""
        try:
            return bool(_value(self.tree, dict(trial)))
        except LookupError:
            return True


def _paths(node: ast.expr, text: str) -> set[str]:
    match node:
        case ast.Name() | ast.Attribute():
            return {_dotted(node, text)}
        case ast.Constant(value=bool() | int() | float() | str()):
            return set()
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _paths(left, text) | _paths(right, text)
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            return _paths(operand, text)
        case ast.BoolOp(values=values):
            return set().union(*(_paths(v, text) for v in values))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in COMPARE for op in ops
        ):
            return _paths(left, text).union(*(_paths(v, text) for v in others))
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return set().union(*(_paths(v, text) for v in items))
    part = ast.unparse(node)
    raise ValueError(
        f"a constraint is made of paths, numbers, + - * / // %, comparisons, and, or, not; not of {part!r}"
    )


def _dotted(node: ast.expr, text: str) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value, text)}.{attr}"
    raise ValueError(f"a path is names joined by dots, but got {ast.unparse(node)!r}")


def _value(node: ast.expr, trial: dict[str, Any]) -> Any:
    match node:
        case ast.Name() | ast.Attribute():
            return _named(at(trial, _dotted(node, "")))
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=left, op=op, right=right):
            return BINARY[type(op)](_value(left, trial), _value(right, trial))
        case ast.UnaryOp(op=op, operand=operand):
            value = _value(operand, trial)
            return -value if isinstance(op, ast.USub) else not value
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


def _named(value: Any) -> Any:
    """A slot with one technique stands for its name, so that ``loss == 'hinge'`` reads as meant."""
    return next(iter(value)) if isinstance(value, dict) and len(value) == 1 else value
