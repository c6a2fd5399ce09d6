"""From plain data to a tree with holes, every part of it checked against the catalog."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from sweeper.config import Problem, Slot, Where, problem_of, show, unknown, unknown_key
from sweeper.registry import (
    Entry,
    Integers,
    LogUniform,
    Options,
    Recommended,
    Uniform,
    nearest,
)
from sweeper.space.holes import Choice, Float, Hole, Int, Maybe, Ratio, Same
from sweeper.space.spelling import bounds, ours

RANGES = ("uniform", "loguniform", "int", "logint")
HOLES = (*RANGES, "choice", "maybe", "same_as")
MODIFIERS = ("ratio_of", "step")

Report = Callable[[Problem], None]
NOTHING = object()


def is_hole(value: object) -> bool:
    return isinstance(value, Mapping) and not value.keys().isdisjoint(HOLES)


@dataclass(frozen=True)
class Place:
    """Where a hole stands: how what is in it is read, whether that may be left out, and the knob,
    if it is one."""

    read: Callable[[Any, Where], Any]
    optional: bool = False
    knob: FieldInfo | None = None


class Compiler:
    """Turns plain data into a tree with holes and reports every problem it meets on the way.

    What was left unsaid is filled in with its default, so that a tree has every path of its draws.
    """

    def __init__(self, report: Report) -> None:
        self.report = report

    def model(self, model: type[BaseModel], value: Any, path: Where) -> dict[str, Any]:
        """The fields of a part of the trial."""
        name = named(path)
        if is_hole(value):
            law = f"a hole stands for a knob or a technique, but {name} is neither"
            self.report(Problem(path, law))
            return {}
        if not isinstance(value, Mapping):
            self.report(Problem(path, f"{name} must be a mapping, but got {show(value)}"))
            return {}
        for key in value.keys() - model.model_fields.keys():
            self.report(unknown_key(key, list(model.model_fields), (*path, key)))
        tree = {
            key: self.field(field, value[key], (*path, key))
            if key in value
            else self.default(field, (*path, key))
            for key, field in model.model_fields.items()
        }
        return {key: child for key, child in tree.items() if child is not NOTHING}

    def field(self, field: FieldInfo, value: Any, path: Where) -> Any:
        slot, part = slot_of(field), part_of(field)
        if slot is not None:
            return self.slot(slot, value, path)
        return self.knob(field, value, path) if part is None else self.model(part, value, path)

    def default(self, field: FieldInfo, path: Where) -> Any:
        """What stands where nothing was written."""
        if field.is_required():
            self.report(Problem(path, f"{path[-1]} is required"))
            return NOTHING
        slot, part = slot_of(field), part_of(field)
        if slot is not None:
            return slot.write(field.default)
        return field.default if part is None else self.model(part, {}, path)

    def slot(self, slot: Slot, value: Any, path: Where) -> Any:
        """A place for techniques of one family."""
        if self.foreign(value, path):
            return NOTHING
        if is_hole(value):
            return self.hole(
                value, path, Place(lambda v, at: self.slot(slot, v, at), slot.holds != "one")
            )
        try:
            chosen = slot.chosen(value)
        except PydanticCustomError as error:
            self.report(Problem(path, error.message()))
            return NOTHING
        read = {name: self.technique(slot, name, chosen[name], (*path, name)) for name in chosen}
        tree = {name: knobs for name, knobs in read.items() if knobs is not NOTHING}
        if slot.several:
            return tree
        if len(chosen) > 1 or (not chosen and slot.holds == "one"):
            self.report(Problem(path, slot.count(chosen)))
        return tree or (NOTHING if chosen else None)

    def technique(self, slot: Slot, name: str, knobs: Any, path: Where) -> Any:
        if name not in slot.registry:
            problem = unknown(name, slot.registry, path)
            if isinstance(knobs, list):  # a hole, then
                problem = replace(problem, hint=nearest(name, HOLES))
            if not self.foreign(name, path[:-1]):
                self.report(problem)
            return NOTHING
        return self.knobs(slot, slot.registry[name], knobs, path)

    def knobs(self, slot: Slot, entry: Entry[Any], knobs: Any, path: Where) -> Any:
        if is_hole(knobs):
            read = Place(lambda v, at: self.knobs(slot, entry, v, at), slot.holds != "one")
            return self.hole(knobs, path, read)
        if knobs == "auto":
            knobs = {k: "auto" for k in entry.knobs.model_fields if entry.recommended(k)}
            if not knobs:
                law = f"auto searches the recommended ranges of knobs, but {entry.name} has none"
                self.report(Problem(path, law))
        return self.model(entry.knobs, {} if knobs in (None, True) else knobs, path)

    def knob(self, field: FieldInfo, value: Any, path: Where) -> Any:
        """A knob: a constant, or a hole whose every end is in the knob's range."""
        if self.foreign(value, path):
            return NOTHING
        if value == "auto":
            value = recommended(field)
            if value is None:
                law = f"auto searches the recommended range of a knob, but {named(path)} has none"
                self.report(Problem(path, law))
                return NOTHING
        if is_hole(value):
            read = Place(lambda v, at: self.knob(field, v, at), knob=field)
            return self.hole(value, path, read)
        if isinstance(value, Mapping) and value and get_origin(field.annotation) is not dict:
            key = str(next(iter(value)))
            law = f"{named(path)} is a value or a hole, but got {show(value)}; holes are "
            self.report(Problem(path, law + ", ".join(HOLES), nearest(key, HOLES)))
            return NOTHING
        return self.constant(field, value, path)

    def constant(self, field: FieldInfo, value: Any, path: Where) -> Any:
        annotated: Any = Annotated[field.annotation, "knob", *field.metadata]
        adapter: TypeAdapter[Any] = TypeAdapter(annotated)
        try:
            # Strictly: neither '64' nor true is a number, and yes is not true; but 64.0 is 64.
            return adapter.validate_python(value, strict=isinstance(value, str | bool))
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.report(problem_of(detail, path, named(path)))
            return NOTHING

    def foreign(self, value: Any, path: Where) -> bool:
        """Whether this is another tool's range or choice, which is reported with our spelling."""
        spelling = None if is_hole(value) else ours(value)
        if spelling is not None:
            law = f"a hole is written as in {{uniform: [0, 1]}}, but got {show(value)}"
            self.report(Problem(path, law, spelling))
        return spelling is not None

    def hole(self, value: Mapping[str, Any], path: Where, place: Place) -> Any:
        """Any hole."""
        kind, *others = [key for key in value if key in HOLES]
        allowed = MODIFIERS if kind in RANGES else ()
        for odd in (*others, *(key for key in value if key not in (*HOLES, *allowed))):
            law = f"{kind} goes with {' and '.join(allowed) or 'nothing else'}, but got {odd} too"
            self.report(Problem((*path, odd), law, nearest(str(odd), allowed)))
            return NOTHING
        content, where = value[kind], (*path, kind)
        if kind == "choice":
            return self.choice(content, where, place)
        if kind == "maybe":
            return self.maybe(content, where, place)
        if kind == "same_as" and not isinstance(content, str):
            law = f"same_as names a path such as batch.size, but got {show(content)}"
            self.report(Problem(where, law))
            return NOTHING
        if place.knob is None:
            law = f"{kind} is of numbers, but {named(path)} is filled by techniques"
            self.report(Problem(where, law))
            return NOTHING
        return Same(content) if kind == "same_as" else self.range(kind, value, path, place.knob)

    def choice(self, content: Any, where: Where, place: Place) -> Any:
        if not isinstance(content, list) or not content:
            law = f"a choice is a list of at least one option, but got {show(content)}"
            self.report(Problem(where, law))
            return NOTHING
        options = [place.read(option, (*where, i)) for i, option in enumerate(content)]
        whole = [self.filled(option, (*where, i)) for i, option in enumerate(options)]
        if not all(whole):
            return NOTHING
        for i, option in enumerate(options):
            if option in options[:i]:
                law = f"the options of a choice differ, but got {show(content[i])} twice"
                self.report(Problem((*where, i), law))
                return NOTHING
        return Choice(labelled(options, content), tuple(options), default_of(place.knob))

    def maybe(self, content: Any, where: Where, place: Place) -> Any:
        if not place.optional:
            law = f"maybe leaves something out, but there is always a {named(where)}"
            self.report(Problem(where, law, "choice"))
            return NOTHING
        inner = place.read(content, where)
        return Maybe(inner) if self.filled(inner, where) else NOTHING

    def filled(self, option: Any, where: Where) -> bool:
        """Whether what is in a hole can stay: another hole would share its name."""
        if isinstance(option, Hole):
            law = "in a hole stand values and techniques, but here is another hole"
            self.report(Problem(where, law))
            return False
        return option is not NOTHING

    def range(self, kind: str, value: Mapping[str, Any], path: Where, knob: FieldInfo) -> Any:
        where, log, whole = (*path, kind), kind.startswith("log"), kind.endswith("int")
        broken = (
            _bounds(kind, value[kind]) or _step(value, kind, log=log) or _of(value, whole=whole)
        )
        if broken is None and not whole and wholly(knob):
            broken = (kind, f"{named(path)} is a whole number, so it is searched by int or logint")
        if broken is not None:
            key, law = broken
            hint = None
            if key == kind and isinstance(value[kind], Mapping):
                named_ends = bounds(value[kind])
                hint = show({kind: [named_ends.get(end, end) for end in ("low", "high")]})
            self.report(Problem((*path, key), law, hint))
            return NOTHING
        (low, high), step = value[kind], value.get("step")
        if "ratio_of" in value:
            return Ratio(value["ratio_of"], Float(float(low), float(high), log, step))
        ends = [self.constant(knob, end, (*where, i)) for i, end in enumerate((low, high))]
        if any(end is NOTHING for end in ends):
            return NOTHING
        default = default_of(knob)
        if whole:
            return Int(int(low), int(high), log, int(step or 1), default)
        return Float(float(low), float(high), log, step, default)


Broken = tuple[str, str] | None
"""The key of a hole that breaks a law, and the law."""


def _bounds(kind: str, content: Any) -> Broken:
    log, whole = kind.startswith("log"), kind.endswith("int")
    if not (isinstance(content, list) and len(content) == 2 and all(map(_number, content))):
        return kind, f"{kind} takes [low, high], two numbers, but got {show(content)}"
    low, high = content
    if not low < high or (log and low <= 0):
        law = "0 < low < high" if log else "low < high"
        return kind, f"{law} must hold, but got {show(content)}"
    if whole and not all(float(end).is_integer() for end in content):
        return kind, f"{kind} takes whole numbers, but got {show(content)}"
    return None


def _step(value: Mapping[str, Any], kind: str, *, log: bool) -> Broken:
    """The law of steps, which lead from the lower bound to the upper one exactly."""
    if "step" not in value:
        return None
    step = value["step"]
    if log:
        return "step", f"a step divides a range evenly, but that of {kind} is logarithmic"
    if not _number(step) or step <= 0 or (kind == "int" and not float(step).is_integer()):
        wanted = "a whole number" if kind == "int" else "a number"
        return "step", f"step must be {wanted} above 0, but got {show(step)}"
    low, high = (Fraction(str(end)) for end in value[kind])
    if (high - low) % Fraction(str(step)):
        return (
            "step",
            f"steps lead from low to high, but {show(step)} misses {show(value[kind][1])}",
        )
    return None


def _of(value: Mapping[str, Any], *, whole: bool) -> Broken:
    if "ratio_of" not in value:
        return None
    of = value["ratio_of"]
    if not isinstance(of, str):
        return "ratio_of", f"ratio_of names a path such as batch.size, but got {show(of)}"
    if whole:
        return "ratio_of", "ratios are real numbers, so they are searched by uniform or loguniform"
    return None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def named(path: Where) -> str:
    """The name of what a path leads to, whichever holes it leads through."""
    names = [str(key) for key in path if not isinstance(key, int) and key not in HOLES]
    return names[-1] if names else "value"


def slot_of(field: FieldInfo) -> Slot | None:
    return next((m for m in field.metadata if isinstance(m, Slot)), None)


def part_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a part of the trial with fields of its own."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def kinds(field: FieldInfo) -> set[Any]:
    """The types that a knob has."""
    return {field.annotation, *get_args(field.annotation)}


def wholly(field: FieldInfo) -> bool:
    """Whether a knob is a whole number and nothing else."""
    return int in kinds(field) and float not in kinds(field)


def recommended(field: FieldInfo) -> dict[str, Any] | None:
    """The hole that ``auto`` stands for."""
    match next((m for m in field.metadata if isinstance(m, Recommended)), None):
        case Uniform(low, high):
            return {"uniform": [low, high]}
        case LogUniform(low, high):
            return {"loguniform": [low, high]}
        case Integers(low, high):
            return {"int": [low, high]}
        case Options(values):
            return {"choice": list(values)}
    return None


def labelled(options: list[Any], written: list[Any]) -> tuple[Any, ...]:
    """The names of options: scalars are their own, techniques have theirs, all else is its JSON."""
    names = [
        " + ".join(map(str, option)) or None if isinstance(option, dict) else option
        for option in options
    ]
    plain = all(isinstance(name, bool | int | float | str | None) for name in names)
    if plain and len(set(names)) == len(names):
        return tuple(False if name is None else name for name in names)
    return tuple(json.dumps(option, sort_keys=True, default=str) for option in written)


def default_of(field: FieldInfo | None) -> Any:
    return None if field is None or field.is_required() else field.default
