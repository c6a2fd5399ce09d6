"""A trial, written down: plain, immutable data, the same in YAML, JSON and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

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
        picks = tuple(self._pick(name, knobs) for name, knobs in chosen.items())
        if self.holds == "many":
            return picks
        if len(picks) == 1:
            return picks[0]
        if not picks and self.holds == "one or none":
            return None
        found = ", ".join(chosen) or "none"
        raise PydanticCustomError(
            "choose_one", f"{self.registry.family} here are exactly one, but got {found}"
        )

    def chosen(self, value: object) -> dict[str, Any]:
        """Technique to knobs, whichever way it was written: a name, a list of names, or a
        mapping."""
        match value:
            case None | False:
                return {}
            case str():
                return {value: {}}
            case list():
                return {str(name): {} for name in value}
            case Mapping():
                return {
                    str(name): knobs or {} for name, knobs in value.items() if knobs is not False
                }
        raise PydanticCustomError(
            "technique",
            f"a technique of {self.registry.family} is a name, or a name and its knobs, "
            f"but got {value!r}",
        )

    def _pick(self, name: str, knobs: Any) -> Pick:
        if name not in self.registry:
            raise PydanticCustomError("unknown", unknown(name, self.registry.family, self.registry))
        entry = self.registry[name]
        try:
            return Pick(entry, entry.knobs.model_validate({} if knobs is True else knobs))
        except ValidationError as error:
            raise Misfit(
                [Problem((name, *p.path), p.law, p.hint) for p in problems_of(error, entry.knobs)]
            ) from None

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


def unknown(name: str, family: str, known: Mapping[str, Any] | list[str]) -> str:
    """The law that an unknown name breaks."""
    return f"{family} has no {name!r}; it has {', '.join(known)}"


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
    every_kimg: Annotated[float, Gt(0)] = 1.0
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
    horizon_kimg: Annotated[float, Gt(0), LogUniform(10, 10_000)]
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
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
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
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "string_type": "must be a string",
}


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """What pydantic found, in our words."""
    found = list[Problem]()
    for detail in error.errors(include_url=False):
        path: Where = tuple(detail["loc"])
        inner = detail.get("ctx", {}).get("error")
        if isinstance(inner, Misfit):
            found += [Problem((*path, *p.path), p.law, p.hint) for p in inner.problems]
        elif detail["type"] == "extra_forbidden":
            known = list(_at(model, path[:-1]).model_fields)
            law = f"there is no key {path[-1]!r} here; there are {', '.join(known) or 'none'}"
            found.append(Problem(path, law, nearest(str(path[-1]), known)))
        elif detail["type"] in LAWS:
            law = LAWS[detail["type"]].format(**detail.get("ctx", {}))
            got = "" if detail["type"] == "missing" else f", but got {detail['input']!r}"
            found.append(Problem(path, f"{path[-1]} {law}{got}"))
        else:
            found.append(Problem(path, detail["msg"]))
    return found


def _at(model: type[BaseModel], path: Where) -> type[BaseModel]:
    for key in path:
        annotation = model.model_fields[str(key)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model
