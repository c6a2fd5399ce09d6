"""A trial, written down: plain, immutable data, the same in YAML, JSON and memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

import sweeper.catalog  # noqa: F401  (fills the registries)
from sweeper.catalog import families as of
from sweeper.registry import Entry, Knobs, LogUniform, Options, Registry, nearest

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, which law it breaks, and what might have been meant."""

    path: Where
    law: str
    hint: str | None = None

    def __str__(self) -> str:
        where = ".".join(map(str, self.path))
        return f"{where}: {self.law}" if where else self.law


class Misfit(ValueError):  # noqa: N818  (it says what is wrong; it is an error all the same)
    """Parts of a trial that are valid alone and do not fit together, or values that break a law."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True)
class Pick:
    """A technique chosen from the catalog, with its knobs set."""

    entry: Entry[Any]
    knobs: Knobs

    def make(self, *given: object) -> Any:
        return self.entry.make(*given, **{k: v for k, v in self.knobs if k in self.entry.own})

    def __getitem__(self, knob: str) -> Any:
        return getattr(self.knobs, knob)


@dataclass(frozen=True)
class Slot:
    """A place in a trial filled from one family: by one technique, by one or none, or by any
    number."""

    registry: Registry[Any]
    holds: Literal["one", "one or none", "many"] = "one"

    def read(self, value: object) -> Pick | tuple[Pick, ...] | None:
        chosen = self.chosen(value)
        # Sorted, since the order in which they are written says nothing.
        picks = tuple(self._pick(name, chosen[name]) for name in sorted(chosen))
        if self.holds == "many":
            return picks
        if len(picks) == 1:
            return picks[0]
        if not picks and self.holds == "one or none":
            return None
        raise PydanticCustomError("count", self.count(chosen))

    def count(self, chosen: Mapping[str, Any]) -> str:
        """The law that a wrong number of techniques breaks."""
        wanted = "exactly one" if self.holds == "one" else "at most one"
        found = ", ".join(chosen) or "none"
        return f"{wanted} of the {self.registry.family} stands here, but got {found}"

    def chosen(self, value: object) -> dict[str, Any]:
        """Technique to knobs, whichever way it was written: a name, a list of names, or a
        mapping."""
        match value:
            case None | False:
                return {}
            case str():
                return {value: {}}
            case list() if all(isinstance(name, str) for name in value):
                return {name: {} for name in value}
            case Mapping():
                return {
                    str(name): {} if knobs is None or knobs is True else knobs
                    for name, knobs in value.items()
                    if knobs is not False
                }
        raise PydanticCustomError(
            "technique",
            "{family} are given by name, or as a name and its knobs, but got {got}",
            {"family": self.registry.family, "got": show(value)},
        )

    def _pick(self, name: str, knobs: Any) -> Pick:
        if name not in self.registry:
            raise Misfit([unknown(name, self.registry, (name,))])
        entry = self.registry[name]
        try:
            return Pick(entry, entry.knobs.model_validate(knobs))
        except ValidationError as error:
            raise Misfit(problems_of(error, entry.knobs, (name,))) from None

    def write(self, value: Pick | tuple[Pick, ...] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        picks = value if isinstance(value, tuple) else (value,)
        return {pick.entry.name: pick.knobs.model_dump() for pick in picks}

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )


def unknown(name: str, registry: Registry[Any], path: Where) -> Problem:
    """A name that a family does not have, and the one it most likely stands for."""
    law = f"there is no {name!r} among the {registry.family}; known: {', '.join(registry)}"
    return Problem(path, law, nearest(name, registry))


def unknown_key(key: object, known: list[str], path: Where) -> Problem:
    """A key that its place does not have, and the one it most likely stands for."""
    law = f"there is no key {str(key)!r} here; known: {', '.join(known) or 'none'}"
    return Problem(path, law, nearest(str(key), known))


def show(value: object) -> str:
    """A value as one would write it in YAML, on one line, and quoted where it is text."""
    shown = repr(value) if isinstance(value, str) else _flow(value)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"


def _flow(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return re.sub(r"e([-+]?)0+", r"e\1", repr(value)).replace("e+", "e")
        case str():
            return value if re.fullmatch(r"[A-Za-z_][\w./-]*", value) else repr(value)
        case Mapping():
            return "{" + ", ".join(f"{key}: {_flow(child)}" for key, child in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)


class Data(BaseModel):
    """A part of a trial: unknown keys are errors, and nothing changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Side(Data):
    """One player: how its activations are normalised, its weights constrained, and its gradients
    turned into steps."""

    normalization: Annotated[Pick, Slot(of.normalizations)]
    constraint: Annotated[Pick | None, Slot(of.constraints, "one or none")] = None
    optimizer: Annotated[Pick, Slot(of.optimizers)]


class Batching(Data):
    """How many real examples a move of D is given."""

    size: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64


class Evaluation(Data):
    """The protocol under which the score is measured; its hash stands beside every value.

    ``features`` is a classifier trained on the data set's labels, or a convolutional network with
    fixed random weights; ``samples`` is how many fakes are compared with the reference;
    ``every_kimg`` how often, in thousands of images.
    """

    features: Literal["classifier", "random"] = "classifier"
    samples: Annotated[int, Ge(2)] = 1000
    every_kimg: Annotated[float, Ge(0.001)] = 1.0
    seed: Annotated[int, Ge(0)] = 0


class Trial(Data):
    """Everything that determines one training run."""

    data: Annotated[Pick, Slot(of.datasets)]
    architecture: Annotated[Pick, Slot(of.architectures)]
    prior: Annotated[Pick, Slot(of.priors)]
    generator: Side
    discriminator: Side
    loss: Annotated[Pick, Slot(of.losses)]
    regularizers: Annotated[tuple[Pick, ...], Slot(of.regularizers, "many")] = ()
    tricks: Annotated[tuple[Pick, ...], Slot(of.tricks, "many")] = ()
    schedule: Annotated[Pick, Slot(of.schedules)]
    batch: Batching = Batching()
    horizon_kimg: Annotated[float, Ge(0.001), LogUniform(10, 10_000)]
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, Ge(0)] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Trial:
        if problems := list(_misfits(self)):
            raise Misfit(problems)
        return self

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Trial:
        """A trial from plain data. Raises Misfit with all problems at once."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise Misfit(problems_of(error, cls)) from None

    def plain(self) -> dict[str, Any]:
        """The trial as JSON-compatible data, with every default written out."""
        return self.model_dump(mode="json")

    def picks(self) -> Iterator[tuple[Where, Pick]]:
        """Every technique of the trial, with its path."""
        return _picks(self, ())


def _picks(part: Data, path: Where) -> Iterator[tuple[Where, Pick]]:
    for name, value in part:
        match value:
            case Pick():
                yield (*path, name, value.entry.name), value
            case tuple():
                yield from (((*path, name, pick.entry.name), pick) for pick in value)
            case Data():
                yield from _picks(value, (*path, name))


def _misfits(trial: Trial) -> Iterator[Problem]:
    """Needs that nothing meets, and conflicts. What the generator's side provides says nothing of
    the discriminator."""
    picks = list(trial.picks())
    provided: dict[str, list[str]] = {}
    for path, pick in picks:
        for tag in pick.entry.provides:
            scoped = f"generator.{tag}" if path[0] == "generator" else tag
            provided.setdefault(scoped, []).append(pick.entry.name)
    for path, pick in picks:
        for tag in sorted(pick.entry.needs - provided.keys()):
            able = ", ".join(sorted(_providers(tag)))
            yield Problem(
                path, f"{pick.entry.name} needs {tag.replace('_', ' ')}, which {able} would provide"
            )
        scope = "generator." if path[0] == "generator" else ""
        for tag in sorted(pick.entry.conflicts):
            if others := [
                name for name in provided.get(scope + tag, []) if name != pick.entry.name
            ]:
                yield Problem(
                    path,
                    f"{pick.entry.name} does not go with {', '.join(others)} "
                    f"({tag.replace('_', ' ')})",
                )


def _providers(tag: str) -> Iterator[str]:
    for registry in (
        of.losses,
        of.constraints,
        of.regularizers,
        of.architectures,
        of.datasets,
        of.tricks,
    ):
        yield from (name for name, entry in registry.items() if tag in entry.provides)


LAWS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be {expected}",
    "missing": "is required",
    "finite_number": "must be a finite number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "string_type": "must be text",
}


def problems_of(
    error: ValidationError, model: type[BaseModel], within: Where = ()
) -> list[Problem]:
    """What pydantic found in a part of a tree, in our words."""
    found = list[Problem]()
    for detail in error.errors(include_url=False):
        path: Where = (*within, *detail["loc"])
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, Misfit):
            found += [Problem((*path, *p.path), p.law, p.hint) for p in inner.problems]
        elif detail["type"] == "extra_forbidden":
            known = list(_at(model, detail["loc"][:-1]).model_fields)
            found.append(unknown_key(path[-1], known, path))
        else:
            name = next((key for key in reversed(path) if isinstance(key, str)), "this")
            found.append(problem_of(detail, path, name))
    return found


def problem_of(detail: ErrorDetails, path: Where, name: str) -> Problem:
    """One value that pydantic refused, in our words."""
    if detail["type"] not in LAWS:
        return Problem(path, detail["msg"])
    given, context = detail["input"], detail.get("ctx", {})
    law = LAWS[detail["type"]].format(**context)
    got = "" if detail["type"] == "missing" else f", but got {show(given)}"
    if isinstance(given, str) and re.fullmatch(r"\d+:\d+", given):
        got += ", which YAML reads as text: a ratio is two numbers, each with a key of its own"
    hint = None
    if detail["type"] == "literal_error":
        hint = nearest(str(given), re.findall(r"'([^']*)'", context["expected"]))
    return Problem(path, f"{name} {law}{got}", hint)


def _at(model: type[BaseModel], path: Where) -> type[BaseModel]:
    for key in path:
        annotation = model.model_fields[str(key)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model
