"""A registry is one family of interchangeable techniques.

A technique is an ordinary function or class, and one convention, the star rule, describes it
completely: what stands left of the ``*`` in its signature is handed over by the trainer; what
stands right of it is a knob that a search may turn. From that signature come validation, the JSON
Schema and the range that ``auto`` searches.
"""

from __future__ import annotations

import difflib
import inspect
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Uniform:
    """Search this knob uniformly between ``low`` and ``high``."""

    low: float
    high: float


@dataclass(frozen=True)
class LogUniform:
    """Search this knob uniformly in its logarithm between ``low`` and ``high``."""

    low: float
    high: float


@dataclass(frozen=True)
class Integers:
    """Search this knob over the integers from ``low`` to ``high``, both included."""

    low: int
    high: int


@dataclass(frozen=True)
class Options:
    """Search this knob over these values."""

    values: tuple[bool | int | float | str, ...]


Recommended = Uniform | LogUniform | Integers | Options


class ForeignError(RuntimeError):
    """Techniques of an installed package that cannot be loaded."""

    def __init__(self, name: str, value: str, error: Exception) -> None:
        law = "installed techniques can be loaded, but those of the entry point"
        super().__init__(f"{law} {name} = {value} raise {type(error).__name__}: {error}")


class Knobs(BaseModel):
    """The keyword-only parameters of one technique, validated and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION = re.compile(r"(?P<knob>\w+)(?: (?P<compare>==|!=|<=|>=|<|>) (?P<value>\S+))?")


@dataclass(frozen=True)
class Law:
    """What a technique says of a tag: that it needs it, provides it, or does not go with it.

    ``why`` is the reason a user is told. ``when`` restricts the law to some settings of the
    technique's own knobs: a knob that must be on, or its comparison with a value, as in
    ``beta1 > 0``; ``on`` to one player's side, of those on which it may stand; ``unless`` to trials
    in which nobody provides another tag, ``beside`` to those in which somebody does.
    """

    tag: str
    why: str = ""
    when: str = ""
    unless: str = ""
    beside: str = ""
    on: str = ""

    def holds(self, knobs: object) -> bool:
        """Whether it applies to a technique with these knobs. Raises ValueError for a ``when`` that
        cannot be read."""
        if not self.when:
            return True
        match = CONDITION.fullmatch(self.when)
        if match is None:
            raise ValueError(f"when is a knob, or knob > value, but got {self.when!r}")
        found = getattr(knobs, match["knob"])
        if match["compare"] is None:
            return bool(found)
        value = match["value"]
        if isinstance(found, int | float):
            return COMPARE[match["compare"]](found, float(value))
        return COMPARE[match["compare"]](str(found), value)


Laws = Iterable[str | Law]


def laws(written: Laws) -> tuple[Law, ...]:
    """Laws, of which those without a reason or a condition were written as a tag alone."""
    return tuple(law if isinstance(law, Law) else Law(law) for law in written)


def tags(declared: Iterable[Law]) -> frozenset[str]:
    """The tags that some setting of the knobs makes laws of."""
    return frozenset(law.tag for law in declared)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One technique: its name in YAML, what builds it, and what it asks of its neighbours."""

    name: str
    family: str
    target: Callable[..., Any]
    knobs: type[Knobs]
    paper: str
    needs: tuple[Law, ...]
    provides: tuple[Law, ...]
    conflicts: tuple[Law, ...]
    warns: tuple[Law, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> frozenset[str]:
        """The knobs of the technique itself, beside those that its whole family shares."""
        return frozenset(_keyword_only(self.target))

    @property
    def asks(self) -> tuple[str, ...]:
        """What it is handed over, by name: the parameters left of its knobs."""
        given = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(self.target).parameters
        return tuple(name for name, p in parameters.items() if p.kind in given)

    @property
    def shipped(self) -> bool:
        """Whether it came with sweeper, and not in a file or a package of somebody else's."""
        return self.target.__module__.partition(".")[0] == "sweeper"

    @property
    def origin(self) -> str:
        """The module it is in, or the file where it is somebody else's."""
        name = self.target.__module__
        return name if self.shipped else getattr(sys.modules.get(name), "__file__", None) or name

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.target) or "").partition("\n")[0]

    def recommended(self, knob: str) -> Recommended | None:
        """The range its signature recommends for a knob, which is what ``auto`` means."""
        return next(
            (m for m in self.knobs.model_fields[knob].metadata if isinstance(m, Recommended)), None
        )

    def make(self, *given: object, **knobs: object) -> T:
        """Set the knobs: a class is built now from what the trainer gives, a function is called
        later with what the trainer gives then."""
        if inspect.isclass(self.target):
            return cast(T, self.target(*given, **knobs))
        return cast(T, partial(self.target, **knobs))


class Registry(Mapping[str, Entry[T]]):
    """A named family of techniques, in alphabetical order."""

    def __init__(self, family: str, shared: type[Knobs] = Knobs) -> None:
        self.family = family
        self.shared = shared
        self._entries: dict[str, Entry[T]] = {}

    def register(
        self,
        name: str | None = None,
        *,
        paper: str = "",
        needs: Laws = (),
        provides: Laws = (),
        conflicts: Laws = (),
        warns: Laws = (),
        facts: Mapping[str, Any] | None = None,
    ) -> Callable[[F], F]:
        """Add a function or class to the family, under its own snake_case name unless another is
        given.

        ``needs`` names what some other part of the trial must provide, ``provides`` what this one
        does, ``conflicts`` what no other part may provide, and ``warns`` what had better not be
        provided; each is a tag or a Law. ``paper`` is a key of ``papers.bib``. Raises ValueError
        when a name is taken, a docstring is missing, or a law speaks of a knob that is not there.
        """

        def add(target: F) -> F:
            key = name or snake(target.__name__)
            if key in self._entries:
                raise ValueError(
                    f"a name is registered once, but {self.family} has {key!r} already, "
                    f"from {self._entries[key].origin}"
                )
            if not inspect.getdoc(target):
                raise ValueError(f"a technique has a docstring, but {self.family} {key!r} has none")
            entry: Entry[T] = Entry(
                key,
                self.family,
                target,
                _knobs(target, key, self.shared),
                paper,
                laws(needs),
                laws(provides),
                laws(conflicts),
                laws(warns),
                dict(facts or {}),
            )
            for law in (*entry.needs, *entry.provides, *entry.conflicts, *entry.warns):
                if law.when and law.when.split()[0] not in entry.knobs.model_fields:
                    raise ValueError(f"{key} has no knob for its law {law.when!r}")
            self._entries[key] = entry
            return target

        return add

    def __getitem__(self, name: str) -> Entry[T]:
        try:
            return self._entries[name]
        except KeyError:
            raise KeyError(f"{self.family} has no {name!r}; it has {', '.join(self)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def remove(self, name: str) -> None:
        """Forget a technique, so that a test or a notebook cell can register it again."""
        del self._entries[name]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one most likely stands for."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def snake(name: str) -> str:
    """``LayerNorm`` is written ``layer_norm``."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _keyword_only(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(target).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}


def _knobs(target: Callable[..., Any], name: str, shared: type[Knobs]) -> type[Knobs]:
    hinted = cast(Any, target).__init__ if inspect.isclass(target) else target
    hints = get_type_hints(hinted, include_extras=True)
    fields: dict[str, Any] = {
        knob: (hints[knob], ... if p.default is p.empty else p.default)
        for knob, p in _keyword_only(target).items()
    }
    return create_model(name, __base__=shared, **fields)
