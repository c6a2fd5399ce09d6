"""The catalog, told: every technique in a line, one of them whole, what a search space cites."""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from sweeper.catalog.aliases import ALIASES, Alias
from sweeper.config import Slot, Trial, show
from sweeper.registry import Entry, Law, tags
from sweeper.space.compile import part_of, recommended, slot_of
from sweeper.space.holes import branches
from sweeper.space.papers import papers
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace
from sweeper.space.use import registries

BOUNDS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}
KINDS = ("needs", "provides", "conflicts", "warns")
WIDTH = 96
NEAR = 3
"""Names that are offered where one is not known."""


def entries(family: str | None = None) -> list[Entry[Any]]:
    """Every technique, or those of a family. Raises InputError for a family that there is not."""
    known = {registry.family: registry for registry in registries()}
    if family is not None and family not in known:
        raise InputError([f"--family is one of {', '.join(known)}, but got {family!r}"])
    chosen = known.values() if family is None else [known[family]]
    return [entry for registry in chosen for entry in registry.values()]


def found(name: str, family: str | None = None) -> list[Entry[Any] | Alias]:
    """What a name stands for: a technique, or a whole family in singular or plural. Raises
    InputError, with the names nearest to it."""
    all_of_them = entries(family)
    here: list[Entry[Any] | Alias] = [entry for entry in all_of_them if entry.name == name]
    if not here and name in ALIASES:
        here = [ALIASES[name]]
    if not here:
        here = [entry for entry in all_of_them if entry.family in (name, f"{name}s", f"{name}es")]
    if here:
        return here
    families = {entry.family for entry in all_of_them}
    known = sorted({entry.name for entry in all_of_them} | set(ALIASES) | families)
    near = difflib.get_close_matches(name, known, NEAR, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; sweeper catalog lists all names"
    where = "the catalog" if family is None else f"the {family}"
    raise InputError([f"there is no {name!r} in {where}{hint}"])


def table(family: str | None = None) -> Iterator[str]:
    """All techniques by family, a line each: name, number of knobs, paper, and what it does."""
    rows = [
        (entry.family, entry.name, str(len(entry.knobs.model_fields)), entry.paper, entry.summary)
        for entry in entries(family)
    ]
    if family is None:
        rows += [
            (
                "elsewhere",
                alias.name,
                "",
                alias.paper,
                f"{alias.summary} [{', '.join(alias.paths)}]",
            )
            for alias in ALIASES.values()
        ]
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    last = ""
    for of, name, knobs, paper, summary in rows:
        if of != last:
            yield from [f"{of}:"] if not last else ["", f"{of}:"]
            last = of
        yield f"  {name:{wide[1]}}  {knobs:>{wide[2]}}  {paper:{wide[3]}}  {summary}".rstrip()


def whole(known: Entry[Any] | Alias) -> Iterator[str]:
    """All there is to say of one technique."""
    if isinstance(known, Alias):
        yield f"{known.name} is no technique of its own: it is {', '.join(known.paths)}"
        yield from _paragraph("", known.summary)
        yield from _cited(known.paper)
        for path in known.settings:
            yield from _setting(path)
        return
    yield f"{known.name}, of the {known.family}" + ("" if known.shipped else f", {known.origin}")
    yield ""
    yield from (f"  {line}".rstrip() for line in (inspect.getdoc(known.target) or "").splitlines())
    yield ""
    yield from _cited(known.paper)
    for knob, field in known.knobs.model_fields.items():
        yield from _knob(knob, field)
    yield from _laws("needs", known.needs, "which {who} would provide")
    yield from _laws("conflicts", known.conflicts, "which {who} may provide")
    yield from _laws("warns", known.warns, "which {who} may provide")
    yield from _laws("provides", known.provides, "")


def described(family: str | None = None) -> list[dict[str, Any]]:
    """Every name of the catalog, or of a family, with all that is known of it, as plain data."""
    none: dict[str, Any] = {kind: [] for kind in ("knobs", *KINDS)}
    aliases = ALIASES.values() if family is None else ()
    return [
        {
            "name": entry.name,
            "family": entry.family,
            "summary": entry.summary,
            "paper": entry.paper or None,
            "origin": entry.origin,
            "alias": None,
            "knobs": [plain_knob(k, field) for k, field in entry.knobs.model_fields.items()],
            **{kind: [asdict(law) for law in getattr(entry, kind)] for kind in KINDS},
        }
        for entry in entries(family)
    ] + [
        {
            "name": alias.name,
            "family": None,
            "summary": alias.summary,
            "paper": alias.paper or None,
            "origin": None,
            "alias": list(alias.paths),
            **none,
        }
        for alias in aliases
    ]


def plain_knob(knob: str, field: FieldInfo) -> dict[str, Any]:
    """A knob: its type, its default, and the range that ``auto`` searches."""
    return {
        "name": knob,
        "type": typed(field),
        "required": field.is_required(),
        "default": None if field.is_required() else field.default,
        "range": recommended(field),
    }


def typed(field: FieldInfo) -> str:
    """The type of a knob, and what it is bound by, as one would say it."""
    bounds = [
        f"{sign} {show(getattr(m, name))}"
        for m in field.metadata
        for kind, (name, sign) in BOUNDS.items()
        if isinstance(m, kind)
    ]
    return " ".join([_type(field.annotation), " and ".join(bounds)]).strip()


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if get_origin(annotation) is dict:
        return "mapping"
    inner = [_type(a) for a in get_args(annotation) if isinstance(a, type) or get_args(a)]
    return " | ".join(inner) or str(annotation)


def cited(space: SearchSpace) -> Iterator[str]:
    """The BibTeX of everything that some draw or baseline of a space uses, sorted, each once."""
    for reference in references(space):
        yield reference["bibtex"]
        yield ""
    for name, paper in sorted(_papers_of(space).items()):
        if paper and paper not in papers():
            yield f"% {name} cites {paper}, which is not in the bibliography of sweeper"


def references(space: SearchSpace) -> list[dict[str, Any]]:
    """The papers of everything that some draw or baseline of a space uses, sorted by key: each as
    BibTeX, as it is read aloud, and with the techniques that are from it."""
    by_key: dict[str, list[str]] = {}
    for name, paper in sorted(_papers_of(space).items()):
        if paper in papers():
            by_key.setdefault(paper, []).append(name)
    return [
        {"key": key, "of": names, "says": str(papers()[key]), "bibtex": papers()[key].bibtex}
        for key, names in sorted(by_key.items())
    ]


def _papers_of(space: SearchSpace) -> dict[str, str]:
    return {entry.name: entry.paper for entry in used_by(space)} | {"fid": ALIASES["fid"].paper}


def used_by(space: SearchSpace) -> Iterator[Entry[Any]]:
    """Every technique that some draw or baseline of a space holds, in whichever branch."""
    yield from _held(Trial, space.tree)
    for baseline in space.baselines:
        yield from (pick.entry for _, pick in space.baseline(baseline)[1].picks())


def _held(model: Any, tree: Mapping[str, Any]) -> Iterator[Entry[Any]]:
    for name, field in model.model_fields.items():
        slot = slot_of(field)
        for branch in branches(tree.get(name)):
            if slot is not None and isinstance(branch, Mapping):
                yield from _chosen(slot, branch)
            elif isinstance(branch, Mapping) and hasattr(field.annotation, "model_fields"):
                yield from _held(field.annotation, branch)


def _chosen(slot: Slot, branch: Mapping[str, Any]) -> Iterator[Entry[Any]]:
    for name in branch:
        yield slot.registry[name]


def fields_at(path: str) -> list[FieldInfo]:
    """What a path of a trial leads to: one field, such as a place for techniques, or that of every
    technique that has it. Raises LookupError where it leads nowhere."""
    keys, model, field = path.split("."), Trial, Trial.model_fields["data"]
    for i, key in enumerate(keys):
        field = model.model_fields[key]
        slot = slot_of(field)
        if slot is not None and keys[i + 1 :]:
            name, knob = keys[i + 1 :]
            of = slot.registry.values() if name == "*" else [slot.registry[name]]
            there = [e.knobs.model_fields[knob] for e in of if knob in e.knobs.model_fields]
            if not there:
                raise LookupError(path)
            return there
        model = cast(Any, field.annotation)
    return [field]


def _setting(path: str) -> Iterator[str]:
    """What an alias leads to, where that is one knob, or the same in every technique."""
    first, *others = fields_at(path)
    if slot := slot_of(first):
        yield from _paragraph("place", f"{path}: {', '.join(slot.registry)}")
    elif part_of(first) is None:
        alike = all(plain_knob("", other) == plain_knob("", first) for other in others)
        yield from _knob(path, first) if alike else _paragraph("knob", f"{path}: as each has it")


def _knob(knob: str, field: FieldInfo) -> Iterator[str]:
    value = field.default if isinstance(field.default, str) else show(field.default)
    default = "required" if field.is_required() else f"default {value}"
    searched = recommended(field)
    auto = f", auto is {show(searched)}" if searched else ""
    yield from _paragraph("knob", f"{knob}: {typed(field)}, {default}{auto}")


def _cited(paper: str) -> Iterator[str]:
    if paper:
        yield from _paragraph("paper", str(papers().get(paper, paper)))


def _laws(kind: str, laws: Sequence[Law], says: str) -> Iterator[str]:
    for law in laws:
        tag = law.tag.rpartition(".")[2]
        who = ", ".join(e.name for e in entries() if tag in tags(e.provides))
        said = [law.tag, says.format(who=who) if who else ""]
        said += [
            f"{word} {term}"
            for word in ("on", "when", "unless", "beside")
            if (term := getattr(law, word))
        ]
        text = ", ".join(filter(None, said)) + (f": {law.why}" if law.why else "")
        yield from _paragraph(kind, text)


def _paragraph(title: str, text: str) -> Iterator[str]:
    """Text beside a title, wrapped."""
    return iter(
        textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"  {title:10}",
            subsequent_indent=" " * 12,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
