"""From plain data to a tree with holes, every part of it checked against the catalog."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from sweeper.config import LAWS, Problem, Slot, Where, unknown
from sweeper.registry import (
    Entry,
    Integers,
    LogUniform,
    Options,
    Recommended,
    Uniform,
    nearest,
)
from sweeper.space.holes import Choice, Float, Int, Maybe, Ratio

RANGES = ("uniform", "loguniform", "int", "logint")
HOLES = frozenset({*RANGES, "choice", "maybe"})
MODIFIERS = frozenset({"ratio_of", "step"})

Report = Callable[[Problem], None]
NOTHING = object()


def is_hole(value: object) -> bool:
    return isinstance(value, Mapping) and bool(HOLES & value.keys())


class Compiler:
    """Turns plain data into a tree with holes and reports every problem it meets on the way."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def model(self, model: type[BaseModel], value: Any, path: Where) -> dict[str, Any]:
        """The fields of a part of the trial; those that are not written are left out."""
        if not isinstance(value, Mapping):
            self.report(Problem(path, f"{path[-1]} must be a mapping, but got {value!r}"))
            return {}
        tree = {}
        for key, child in value.items():
            if key not in model.model_fields:
                self.unknown_key(key, list(model.model_fields), (*path, key))
                continue
            tree[key] = self.field(model.model_fields[key], child, (*path, key))
        return {key: child for key, child in tree.items() if child is not NOTHING}

    def field(self, field: FieldInfo, value: Any, path: Where) -> Any:
        slot = next((m for m in field.metadata if isinstance(m, Slot)), None)
        if slot is not None:
            return self.slot(slot, value, path)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            return self.model(field.annotation, value, path)
        return self.leaf(field, value, path)

    def slot(self, slot: Slot, value: Any, path: Where) -> Any:
        """A place for techniques of one family."""
        if is_hole(value):
            return self.hole(value, path, lambda option, where: self.slot(slot, option, where))
        try:
            chosen = slot.chosen(value)
        except ValueError as error:
            self.report(Problem(path, str(error)))
            return NOTHING
        tree = {
            name: self.technique(slot, name, knobs, (*path, name)) for name, knobs in chosen.items()
        }
        tree = {name: knobs for name, knobs in tree.items() if knobs is not NOTHING}
        if slot.holds == "one" and len(chosen) != 1:
            found = ", ".join(chosen) or "none"
            self.report(
                Problem(path, f"exactly one of {slot.registry.family} stands here, but got {found}")
            )
        return tree or (None if slot.holds != "many" else {})

    def technique(self, slot: Slot, name: str, knobs: Any, path: Where) -> Any:
        if name not in slot.registry:
            known = [*slot.registry, *HOLES]
            self.report(
                Problem(
                    path, unknown(name, slot.registry.family, slot.registry), nearest(name, known)
                )
            )
            return NOTHING
        entry = slot.registry[name]
        if is_hole(knobs):
            return self.hole(knobs, path, lambda inner, where: self.knobs(entry, inner, where))
        return self.knobs(entry, knobs, path)

    def knobs(self, entry: Entry[Any], knobs: Any, path: Where) -> Any:
        if knobs == "auto":
            knobs = {k: "auto" for k in entry.knobs.model_fields if entry.recommended(k)}
        if knobs in (None, True):
            knobs = {}
        return self.model(entry.knobs, knobs, path)

    def leaf(self, field: FieldInfo, value: Any, path: Where) -> Any:
        """A knob: a constant, or a hole whose every end is in the knob's range."""
        if value == "auto":
            value = self.recommended(field, path)
            if value is NOTHING:
                return NOTHING
        if is_hole(value):
            return self.hole(
                value, path, lambda option, where: self.leaf(field, option, where), field
            )
        return self.constant(field, value, path)

    def constant(self, field: FieldInfo, value: Any, path: Where) -> Any:
        annotated: Any = Annotated[field.annotation, "knob", *field.metadata]
        adapter: TypeAdapter[Any] = TypeAdapter(annotated)
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                law = LAWS.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))
                self.report(
                    Problem(
                        path,
                        f"{self.name(path)} {law}, but got {value!r}",
                        self.meant(detail, value),
                    )
                )
            return NOTHING

    @staticmethod
    def meant(detail: Any, value: Any) -> str | None:
        expected = str(detail.get("ctx", {}).get("expected", ""))
        options = [part.strip("' ") for part in expected.replace(" or ", ",").split(",") if part]
        return nearest(str(value), options) if detail["type"] == "literal_error" else None

    @staticmethod
    def name(path: Where) -> str:
        return next(
            (str(key) for key in reversed(path) if not isinstance(key, int) and key not in HOLES),
            "value",
        )

    def recommended(self, field: FieldInfo, path: Where) -> Any:
        match next((m for m in field.metadata if isinstance(m, Recommended)), None):
            case Uniform(low, high):
                return {"uniform": [low, high]}
            case LogUniform(low, high):
                return {"loguniform": [low, high]}
            case Integers(low, high):
                return {"int": [low, high]}
            case Options(values):
                return {"choice": list(values)}
        self.report(
            Problem(path, f"auto searches a recommended range, but {self.name(path)} has none")
        )
        return NOTHING

    def hole(
        self,
        value: Mapping[str, Any],
        path: Where,
        inner: Callable[[Any, Where], Any],
        field: FieldInfo | None = None,
    ) -> Any:
        """Any hole; ``inner`` compiles what stands inside it."""
        kinds = [key for key in value if key in HOLES]
        if len(kinds) > 1 or (extra := value.keys() - HOLES - MODIFIERS):
            odd = kinds[1] if len(kinds) > 1 else sorted(extra)[0]
            self.unknown_key(odd, [kinds[0], *sorted(MODIFIERS)], (*path, odd))
            return NOTHING
        kind = kinds[0]
        content, where = value[kind], (*path, kind)
        if kind == "choice":
            return self.choice(content, where, inner, field)
        if kind == "maybe":
            compiled = inner(content, where)
            return NOTHING if compiled is NOTHING else Maybe(compiled)
        if field is None:
            self.report(
                Problem(where, f"{kind} fills a knob, but {self.name(path)} is a technique")
            )
            return NOTHING
        return self.range(kind, content, value, path, field)

    def choice(
        self,
        content: Any,
        where: Where,
        inner: Callable[[Any, Where], Any],
        field: FieldInfo | None,
    ) -> Any:
        if not isinstance(content, list) or not content:
            self.report(
                Problem(where, f"a choice is a list of at least one option, but got {content!r}")
            )
            return NOTHING
        options = [inner(option, (*where, i)) for i, option in enumerate(content)]
        if any(option is NOTHING for option in options):
            return NOTHING
        labels = tuple(
            label(option, written) for option, written in zip(options, content, strict=True)
        )
        if len(set(map(repr, labels))) < len(labels):
            self.report(
                Problem(
                    where, f"the options of a choice differ, but got {', '.join(map(str, labels))}"
                )
            )
            return NOTHING
        return Choice(labels, tuple(options), default_of(field))

    def range(
        self, kind: str, content: Any, value: Mapping[str, Any], path: Where, field: FieldInfo
    ) -> Any:
        where, log, whole = (*path, kind), kind.startswith("log"), kind.endswith("int")
        match content:
            case [int() | float() as low, int() | float() as high] if not {bool} & {
                type(low),
                type(high),
            }:
                pass
            case _:
                self.report(Problem(where, f"{kind} takes [low, high], but got {content!r}"))
                return NOTHING
        if not low < high or (log and low <= 0):
            law = "0 < low < high" if log else "low < high"
            self.report(Problem(where, f"{law} must hold, but got [{low}, {high}]"))
            return NOTHING
        if whole and not (float(low).is_integer() and float(high).is_integer()):
            self.report(Problem(where, f"{kind} takes whole numbers, but got [{low}, {high}]"))
            return NOTHING
        step = value.get("step")
        if step is not None and (not isinstance(step, int | float) or step <= 0 or log):
            self.report(
                Problem(
                    (*path, "step"),
                    f"a step is a number above 0 of a range without log, but got {step!r}",
                )
            )
            return NOTHING
        if "ratio_of" in value:
            return self.ratio(value["ratio_of"], Float(float(low), float(high), log), path, whole)
        if any(
            self.constant(field, end, (*where, i)) is NOTHING for i, end in enumerate((low, high))
        ):
            return NOTHING
        default = default_of(field)
        if whole:
            return Int(int(low), int(high), log, int(step or 1), default)
        return Float(float(low), float(high), log, step, default)

    def ratio(self, of: Any, hole: Float, path: Where, whole: bool) -> Any:
        if not isinstance(of, str) or whole or hole.low <= 0:
            law = "ratio_of names a path, and its range is of real numbers above 0"
            self.report(Problem((*path, "ratio_of"), f"{law}, but got {of!r}"))
            return NOTHING
        return Ratio(of, hole)

    def unknown_key(self, key: Any, known: list[str], path: Where) -> None:
        law = f"there is no key {key!r} here; there are {', '.join(known) or 'none'}"
        self.report(Problem(path, law, nearest(str(key), known)))


def label(option: Any, written: Any) -> Any:
    """The name of an option: a scalar is its own, a technique's is its name, anything else its JSON."""
    if isinstance(option, dict) and len(option) == 1:
        return next(iter(option))
    if isinstance(option, bool | int | float | str | None):
        return option if option is not None else False
    return json.dumps(written, sort_keys=True)


def default_of(field: FieldInfo | None) -> Any:
    return None if field is None or field.is_required() else field.default
