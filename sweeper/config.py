"""A trial, written down: plain, immutable data, the same in YAML, JSON and memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

import sweeper.catalog  # noqa: F401  (fills the registries)
from sweeper.catalog import families as of
from sweeper.catalog.aliases import ALIASES, SPELLINGS
from sweeper.problem import Problem as Problem
from sweeper.problem import Where as Where
from sweeper.problem import show as show
from sweeper.registry import Entry, Knobs, Law, LogUniform, Options, Registry, nearest, tags


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

    def made_of(self, offered: Mapping[str, object]) -> Any:
        """Built now, from what it asks for of what is offered."""
        given = [offered[name] for name in self.entry.asks]
        made = self.make(*given)
        return made if isinstance(self.entry.target, type) else made(*given)

    def __getitem__(self, knob: str) -> Any:
        return getattr(self.knobs, knob)


@dataclass(frozen=True)
class Slot:
    """A place in a trial filled from one family: by one technique, by one or none, by any number,
    or by all that were not taken out."""

    registry: Registry[Any]
    holds: Literal["one", "one or none", "many", "all"] = "one"

    @property
    def several(self) -> bool:
        return self.holds in ("many", "all")

    def read(self, value: object) -> Pick | tuple[Pick, ...] | None:
        chosen = self.chosen(value)
        # Sorted, since the order in which they are written says nothing.
        picks = tuple(self._pick(name, chosen[name]) for name in sorted(chosen))
        if self.several:
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
        if self.holds == "all" and isinstance(value, Mapping):
            value = {name: {} for name in self.registry} | dict(value)
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
    alias = ALIASES.get(name)
    return Problem(path, law, nearest(name, registry) if alias is None else alias.paths[0])


def unknown_key(key: object, known: list[str], path: Where) -> Problem:
    """A key that its place does not have, and the one it most likely stands for."""
    law = f"there is no key {str(key)!r} here; known: {', '.join(known) or 'none'}"
    ours = SPELLINGS.get(str(key))
    return Problem(path, law, ours if ours in known else nearest(str(key), known))


class Data(BaseModel):
    """A part of a trial: unknown keys are errors, and nothing changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Side(Data):
    """One player: the layers that its networks are made of, how their weights are constrained, and
    how gradients become steps.

    What is left out is as the architecture has it. ``freeze`` names parameters that are never
    trained, by patterns such as ``first.*`` with commas between them; statistics of a normalization
    that matches stay as they are, too.
    """

    normalization: Annotated[Pick, Slot(of.normalizations)]
    constraint: Annotated[Pick | None, Slot(of.constraints, "one or none")] = None
    activation: Annotated[Pick | None, Slot(of.activations, "one or none")] = None
    convolution: Annotated[Pick | None, Slot(of.convolutions, "one or none")] = None
    blocks: Annotated[tuple[Pick, ...], Slot(of.blocks, "many")] = ()
    initialization: Annotated[Pick | None, Slot(of.initializations, "one or none")] = None
    conditioning: Annotated[tuple[Pick, ...], Slot(of.conditioning, "many")] = ()
    optimizer: Annotated[Pick, Slot(of.optimizers)]
    freeze: str = ""


class GeneratorSide(Side):
    """The generator, as a side has it; how it doubles the size of an image; and the side of the
    kernel of its last convolution, ``output_conv``."""

    upsampling: Annotated[Pick | None, Slot(of.upsampling, "one or none")] = None
    output_conv: Annotated[Literal[1, 3, 7, 9] | None, Options((1, 3, 9))] = None


class DiscriminatorSide(Side):
    """The discriminator, as a side has it; how it halves the size of an image; and at how many
    ``scales`` it looks, with a network for each, the next at half the size of the one before."""

    downsampling: Annotated[Pick | None, Slot(of.downsampling, "one or none")] = None
    scales: Annotated[int, Ge(1), Options((1, 2, 3))] = 1
    pyramid: Annotated[Literal["average", "max", "bilinear"], Options(("average", "max"))] = (
        "average"
    )


class Batching(Data):
    """How many real examples a move of D is given, and how they are shown to it.

    ``accumulate`` takes a move's gradient in so many equal parts, one after another, which needs
    less memory. ``mixed`` shows D real examples and fakes as one batch, in its own moves.
    """

    size: Annotated[int, Ge(1), Options((16, 32, 64, 128))] = 64
    accumulate: Annotated[int, Ge(1), Options((1, 2, 4, 8))] = 1
    mixed: Annotated[bool, Options((False, True))] = False

    provides: ClassVar[tuple[Law, ...]] = (
        Law("small_batch", when="size < 8"),
        Law("accumulation", when="accumulate > 1"),
        Law("mixed_batch", when="mixed"),
    )
    warns: ClassVar[tuple[Law, ...]] = (
        Law(
            "batch_coupled",
            "statistics of a part of the batch are not those of the whole",
            when="accumulate > 1",
        ),
        Law(
            "batch_statistics",
            "batch statistics tell D how many of the examples are real",
            when="mixed",
        ),
    )

    @model_validator(mode="after")
    def _divides(self) -> Batching:
        if self.size % self.accumulate:
            law = "size must divide into accumulate equal parts, but got"
            raise Misfit([Problem(("accumulate",), f"{law} {self.size} and {self.accumulate}")])
        return self


class Start(Data):
    """Where the networks start from: random weights, or those of a checkpoint.

    ``checkpoint`` is a file with the weights of a trial's networks, or a trial's folder, whose
    newest checkpoint is read. ``match: all`` wants every weight in it to have its place here and
    the other way round; ``match: some`` takes those whose name and shape match, of which the rest
    is reported.
    """

    checkpoint: str | None = None
    match: Annotated[Literal["all", "some"], Options(("all", "some"))] = "all"

    provides: ClassVar[tuple[Law, ...]] = (Law("random_start", when="checkpoint == None"),)

    @model_validator(mode="after")
    def _has_something_to_match(self) -> Start:
        if self.match == "some" and self.checkpoint is None:
            raise Misfit(
                [Problem(("match",), "match says how a checkpoint is read: there is none")]
            )
        return self


class Feeding(Data):
    """How real examples reach the networks.

    ``pixel_range`` is the range in which they see images, and G makes them: ``tanh``, [-1, 1];
    ``unit``, [0, 1]; ``standardize``, mean 0 and variance 1 in every channel. ``sampler`` shuffles
    all examples anew in every epoch, or is ``balanced``: each class is drawn equally often.
    ``subset`` is the share of the examples that are trained on, and ``mirror`` shows half of the
    images, at random, left to right. ``workers`` processes read what does not fit in memory.
    """

    pixel_range: Annotated[
        Literal["tanh", "unit", "standardize"], Options(("tanh", "unit", "standardize"))
    ] = "tanh"
    sampler: Annotated[Literal["shuffled", "balanced"], Options(("shuffled", "balanced"))] = (
        "shuffled"
    )
    subset: Annotated[float, Gt(0), Le(1), LogUniform(0.01, 1)] = 1.0
    mirror: Annotated[bool, Options((False, True))] = False
    workers: Annotated[int, Ge(0)] = 2

    provides: ClassVar[tuple[Law, ...]] = (
        Law("tanh_range", when="pixel_range == tanh"),
        Law("unit_range", when="pixel_range == unit"),
        Law("standard_range", when="pixel_range == standardize"),
    )
    needs: ClassVar[tuple[Law, ...]] = (
        Law("images", "points have no levels", when="pixel_range == unit"),
        Law("images", "points have no levels", when="pixel_range == standardize"),
        Law("images", "points have no left and right", when="mirror"),
    )


Features = Literal["inception", "classifier", "random_conv", "raw"]


class Evaluation(Data):
    """The protocol under which the score is measured; its hash stands beside every value.

    ``features`` are those of Inception, of a classifier trained on the data set's labels, of a
    convolutional network with fixed random weights, or the examples themselves, raw; ``weights`` is
    the file of Inception's, where it is not in torch's cache. ``samples`` is how many fakes are
    compared with the reference, ``every_kimg`` how often, in thousands of images. At the end the
    best generator is measured in full, on what was held out: ``full_samples`` fakes, and all
    ``metrics``. What is held out is one half of the examples, by lot, which are trained on all the
    same; with a ``held_out`` share, it is so many, which are never trained on.
    """

    features: Features = "classifier"
    weights: str | None = None
    samples: Annotated[int, Ge(2)] = 1000
    full_samples: Annotated[int, Ge(2)] | None = None
    metrics: Annotated[tuple[Pick, ...], Slot(of.metrics, "many")] = ()
    every_kimg: Annotated[float, Ge(0.001)] = 1.0
    held_out: Annotated[float | None, Gt(0), Lt(1)] = None
    seed: Annotated[int, Ge(0)] = 0

    provides: ClassVar[tuple[Law, ...]] = (
        Law("judged_by_classifier", when="features == classifier"),
    )

    @model_validator(mode="after")
    def _has_use_of_weights(self) -> Evaluation:
        if self.weights is not None and self.features != "inception":
            law = f"weights are Inception's, but features is {self.features}"
            raise Misfit([Problem(("weights",), law)])
        return self


def everything(registry: Registry[Any]) -> tuple[Pick, ...]:
    """Every technique of a family, with its defaults."""
    return tuple(Pick(entry, entry.knobs()) for entry in registry.values())


class Trial(Data):
    """Everything that determines one training run."""

    data: Annotated[Pick, Slot(of.datasets)]
    architecture: Annotated[Pick, Slot(of.architectures)]
    prior: Annotated[Pick, Slot(of.priors)]
    generator: GeneratorSide
    discriminator: DiscriminatorSide
    loss: Annotated[Pick, Slot(of.losses)]
    regularizers: Annotated[tuple[Pick, ...], Slot(of.regularizers, "many")] = ()
    tricks: Annotated[tuple[Pick, ...], Slot(of.tricks, "many")] = ()
    schedule: Annotated[Pick, Slot(of.schedules)]
    batch: Batching = Batching()
    feed: Feeding = Feeding()
    precision: Annotated[Literal["float32", "bfloat16"], Options(("float32", "bfloat16"))] = (
        "float32"
    )
    init_from: Start = Start()
    diagnostics: Annotated[tuple[Pick, ...], Slot(of.diagnostics, "all")] = everything(
        of.diagnostics
    )
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

    @property
    def provides(self) -> tuple[Law, ...]:
        """What holds of the trial as a whole."""
        rates = [
            getattr(s.optimizer.knobs, "lr", None) for s in (self.generator, self.discriminator)
        ]
        uneven = (Law("two_time_scales"),) if rates[0] != rates[1] else ()
        return (Law("reduced_precision", when="precision == bfloat16"), *uneven)

    def warnings(self) -> list[Problem]:
        """What is allowed, and has been found to go badly together."""
        hall = Hall(self)
        return [
            Problem(voice.path, _because(f"{voice.name} beside {', '.join(others)}", law))
            for voice in hall.voices
            for law in hall.standing(voice, "warns")
            if (others := hall.heard(voice, law.tag))
        ]

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


@dataclass(frozen=True)
class Ranks:
    """Several processes that train a trial together, as a part of it that has laws."""

    size: int

    provides: ClassVar[tuple[Law, ...]] = (Law("ranks", when="size > 1"),)


SIDES = ("generator", "discriminator")


def astray(path: Where, entry: Entry[Any]) -> bool:
    """Whether a technique of one player stands on the other's side."""
    side = entry.facts.get("on")
    return path[0] in SIDES and side in SIDES and side != path[0]


@dataclass(frozen=True)
class Voice:
    """A part of a trial that has laws: where it stands, what it is called, and its knobs."""

    path: Where
    name: str
    laws: Any
    knobs: Any

    @property
    def scope(self) -> str:
        return str(self.path[0]) if self.path[0] in SIDES else ""

    def says(self, kind: str) -> list[Law]:
        """Its laws of a kind that hold where it stands, with the knobs it has."""
        mine = [law for law in getattr(self.laws, kind, ()) if law.on in ("", self.scope)]
        return [law for law in mine if law.holds(self.knobs)]


def _voices(trial: Trial) -> Iterator[Voice]:
    for path, pick in trial.picks():
        yield Voice(path, pick.entry.name, pick.entry, pick.knobs)
    for name in ("batch", "feed", "init_from", "evaluation"):
        part = getattr(trial, name)
        yield Voice((name,), name, part, part)
    yield Voice(("precision",), f"precision {trial.precision}", trial, trial)


class Hall:
    """All voices of a trial, and of what trains it; and who of them provides what."""

    def __init__(self, trial: Trial, ranks: int = 1) -> None:
        together = Ranks(ranks)
        self.voices = [*_voices(trial), Voice(("ranks",), f"{ranks} ranks", together, together)]
        self.provided: dict[str, list[Voice]] = {}
        for voice in self.voices:
            for law in voice.says("provides"):
                self.provided.setdefault(law.tag, []).append(voice)

    def heard(self, voice: Voice, tag: str) -> list[str]:
        """Who provides a tag to a voice. What one player's side provides says nothing of the
        other's; who stands on no side hears D's, and G's where the tag says so."""
        scope, _, bare = tag.rpartition(".")
        near = (scope or voice.scope or "discriminator", "")
        others = self.provided.get(bare, ())
        return [o.name for o in others if o.scope in near and o.path != voice.path]

    def standing(self, voice: Voice, kind: str) -> list[Law]:
        """The laws of a kind that hold for a voice, but for those that a tag in the trial lifts, or
        the lack of one."""
        return [
            law
            for law in voice.says(kind)
            if not (law.unless and self.heard(voice, law.unless))
            and not (law.beside and not self.heard(voice, law.beside))
        ]


def over(trial: Trial, ranks: int) -> None:
    """Raises Misfit, with all problems at once, for a trial that so many ranks cannot train."""
    problems = list(_misfits(trial, ranks))
    size, parts = trial.batch.size, trial.batch.accumulate
    if size % (ranks * parts):
        law = f"size must divide into ranks x accumulate equal parts, but got {size} and"
        problems.append(Problem(("batch", "size"), f"{law} {ranks} x {parts}"))
    if problems:
        raise Misfit(problems)


def _misfits(trial: Trial, ranks: int = 1) -> Iterator[Problem]:
    """Needs that nothing meets, and conflicts."""
    for path, pick in trial.picks():
        if astray(path, pick.entry):
            yield Problem(path, f"{pick.entry.name} is a technique of the {pick.entry.facts['on']}")
    hall = Hall(trial, ranks)
    for voice in hall.voices:
        for law in hall.standing(voice, "needs"):
            if not hall.heard(voice, law.tag):
                able = ", ".join(sorted(_providers(law.tag.rpartition(".")[2])))
                wanted = law.tag.rpartition(".")[2].replace("_", " ")
                provided = f"{able} would provide" if able else "nothing provides yet"
                text = f"{voice.name} needs {wanted}, which {provided}"
                yield Problem(voice.path, _because(text, law))
        for law in hall.standing(voice, "conflicts"):
            if others := hall.heard(voice, law.tag):
                text = f"{voice.name} does not go with {', '.join(others)}"
                if not law.why:
                    text += f" ({law.tag.rpartition('.')[2].replace('_', ' ')})"
                yield Problem(voice.path, _because(text, law))


def _because(text: str, law: Law) -> str:
    return f"{text}: {law.why}" if law.why else text


def _providers(tag: str) -> Iterator[str]:
    for registry in vars(of).values():
        if isinstance(registry, Registry):
            yield from (name for name, entry in registry.items() if tag in tags(entry.provides))


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
    """The part that a path leads to, be it optional or an item of a list."""
    for key in path:
        if isinstance(key, str):
            annotation = model.model_fields[key].annotation
            kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            model = next((kind for kind in kinds if issubclass(kind, BaseModel)), model)
    return model
