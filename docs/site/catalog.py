"""The pages of the catalog: one for each technique, one for each family, and one for all."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from links import ROOT
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import sweeper.catalog  # noqa: F401  (fills the registries)
from sweeper.catalog.aliases import ALIASES
from sweeper.config import Trial, show
from sweeper.registry import Entry, Law, tags
from sweeper.space import shelf
from sweeper.space.compile import part_of, recommended, slot_of
from sweeper.space.listing import entries, typed, used_by
from sweeper.space.papers import Paper, papers
from sweeper.space.space import shipped
from sweeper.sweep.plan import Settings, space_of

Technique: TypeAlias = Entry[Any]
LAWS = {
    "needs": "Needs",
    "conflicts": "Goes with nobody who provides",
    "warns": "Had better not stand beside who provides",
    "provides": "Provides",
}
TERMS = {"on": "on", "when": "when", "unless": "unless there is", "beside": "beside"}
FORMULA = re.compile(r"[=←·‖Σ∇⊙√]|\bE[ (]")
ENDS = re.compile(
    r"(?<=[.;:]) (?=\S)"
    r"|, (?=(?:of|where|with|over|for|given|the|to|and|after|\w+ being|\w uniform)\b)"
    r"|(?: and)? (?=(?:with|after) )| (?=\([A-Z]\w+ \d{4}\))"
)
"""Where a formula that a paragraph begins with is over."""
INDEX = r"(?:[A-Za-zα-ωΑ-Ω0-9]{1,2}|\{[^}]+\})(?![A-Za-z0-9_])"
INDEXED = re.compile(
    rf"(?<![\w`])(?P<base>[^\W\d_]['̄̂]?|softmax|mean|∇|Σ)_(?P<sub>{INDEX})"
    r"|(?<![\w`])(?P<loss>L)_(?P<term>[a-z]+)"
    rf"|\^(?P<sup>{INDEX})"
)
MINUS = re.compile(r"(?<!\w)-(?!>)")
CODE = re.compile(r"``?([^`]+)``?")
SPECIAL = {"&": "&amp;", "<": "&lt;", "*": "&#42;", "_": "&#95;", "|": "&#124;", "[": "&#91;"}


def anchor(title: str, separator: str) -> str:
    """The anchor of a title, as the code forges make it."""
    return re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", separator)


def navigation() -> list[Any]:
    """The part of the site's navigation that leads to techniques."""
    listed: list[Any] = [{"Catalog": "catalog/index.md"}]
    for family, techniques in families().items():
        below = [{entry.name: page(entry)} for entry in techniques]
        listed.append({family: [{family: f"catalog/{family}/index.md"}, *below]})
    return listed


def pages() -> Iterator[tuple[str, str]]:
    """Every page of the catalog, with its text. Links are written from the project's top."""
    yield "catalog/index.md", "\n".join(_overview())
    for family, techniques in families().items():
        yield f"catalog/{family}/index.md", "\n".join(_family(family, techniques))
        for entry in techniques:
            yield page(entry), "\n".join(technique(entry))


def page(entry: Technique) -> str:
    """Where a technique has its page."""
    return f"catalog/{entry.family}/{entry.name}.md"


@cache
def families() -> Mapping[str, list[Technique]]:
    """The techniques that come along, by family."""
    found: dict[str, list[Technique]] = {}
    for entry in entries():
        if entry.shipped:
            found.setdefault(entry.family, []).append(entry)
    return found


@cache
def _by_file() -> Mapping[tuple[str, str], str]:
    known = (entry for techniques in families().values() for entry in techniques)
    return {(entry.name, file_of(entry)[0]): page(entry) for entry in known}


def page_of(said: str, path: str) -> str | None:
    """The page of a technique that a link names and whose file it leads to."""
    return _by_file().get((said, path))


def file_of(entry: Technique) -> tuple[str, int, str]:
    """The file of a technique, the line where it begins, and its code."""
    target = inspect.unwrap(entry.target)
    file = Path(inspect.getsourcefile(target) or "")
    code, line = inspect.getsourcelines(target)
    return file.relative_to(ROOT).as_posix(), line, "".join(code)


def _overview() -> Iterator[str]:
    count = sum(map(len, families().values()))
    yield "# The catalog"
    yield ""
    yield f"{count} techniques in {len(families())} families. Each is one short file, and this is"
    yield "made from these files: what stands in their signatures is what a search may turn."
    yield ""
    yield "| family | techniques | where in a trial |"
    yield "|---|---|---|"
    for family, techniques in families().items():
        where = ", ".join(f"`{path}`" for path in places().get(family, ()))
        yield f"| [{family}](docs/catalog/{family}/index.md) | {len(techniques)} | {where or '–'} |"
    yield ""
    yield "## Known by other names"
    yield ""
    yield "What the literature has a name for, and what is a part or a knob of something here."
    yield ""
    yield "| name | what it is | where |"
    yield "|---|---|---|"
    for alias in ALIASES.values():
        where = ", ".join(f"`{path}`" for path in alias.paths)
        yield f"| {plain(alias.name)} | {prose(alias.summary)} | {where} |"


def _family(family: str, techniques: list[Technique]) -> Iterator[str]:
    yield f"# {family.capitalize()}"
    yield ""
    if family in places():
        yield "In a trial: " + ", ".join(f"`{path}`" for path in places()[family]) + "."
        yield ""
    yield "| technique | what it does | paper |"
    yield "|---|---|---|"
    for entry in techniques:
        cited = papers().get(entry.paper)
        paper = f"{cited.authors} {cited.fields['year']}" if cited else ""
        yield f"| {linked(entry)} | {prose(entry.summary)} | {plain(paper)} |"


def technique(entry: Technique) -> Iterator[str]:
    """All there is to say of a technique."""
    yield f"# `{entry.name}`"
    yield ""
    where = ", ".join(f"`{path}`" for path in places().get(entry.family, ()))
    yield f"One of the [{entry.family}](docs/catalog/{entry.family}/index.md)" + (
        f", in a trial at {where}." if where else "."
    )
    yield ""
    yield from _documented(entry)
    yield from _knobs(entry)
    yield from _laws(entry)
    if cited := papers().get(entry.paper):
        yield from _paper(cited)
    yield from _spaces(entry)
    file, line, code = file_of(entry)
    yield "## Code"
    yield ""
    yield f"[`{file}`]({file}#L-{line})"
    yield ""
    yield f"```python\n{code.rstrip()}\n```"


def _documented(entry: Technique) -> Iterator[str]:
    """Its docstring: what it does, its formula set apart, and the rest."""
    summary, _, rest = (inspect.getdoc(entry.target) or "").partition("\n\n")
    yield f"**{prose(summary)}**"
    yield ""
    for paragraph in filter(None, rest.split("\n\n")):
        first, said = split(" ".join(paragraph.split()))
        if first:
            yield f'<p class="formula">{MINUS.sub("−", prose(first, html=True))}</p>'
            yield ""
        yield prose(said)
        yield ""
    file, _, _ = file_of(entry)
    if sum(path == file for _, path in _by_file()) > 1:
        shared = " ".join((inspect.getdoc(inspect.getmodule(entry.target)) or "").split())
        yield f"*What holds for all in `{Path(file).name}`:* {prose(shared)}"
        yield ""


def split(paragraph: str) -> tuple[str, str]:
    """A paragraph that begins with a formula as the formula and what follows; any other as it
    is."""
    cut = ENDS.search(paragraph)
    first = paragraph[: cut.start()] if cut else paragraph
    words = re.findall(r"\b[a-z]{4,}\b", CODE.sub("", first))
    if not FORMULA.search(first) or len(words) > 3 or re.match(r"[A-Z][a-z]", first):
        return "", paragraph
    return first.rstrip(".;:"), paragraph[cut.start() :].lstrip(",;: ") if cut else ""


def _knobs(entry: Technique) -> Iterator[str]:
    fields = entry.knobs.model_fields
    yield "## Knobs"
    yield ""
    if not fields:
        yield "It has none."
        yield ""
        return
    yield "| knob | type | default | `auto` searches |"
    yield "|---|---|---|---|"
    for knob, field in fields.items():
        yield f"| `{knob}` | {plain(typed(field))} | {_default(field)} | {_searched(field)} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{field.default if isinstance(field.default, str) else show(field.default)}`"


def _searched(field: FieldInfo) -> str:
    hole = recommended(field)
    return f"`{show(hole)}`" if hole else "–"


def _laws(entry: Technique) -> Iterator[str]:
    kinds = {title: getattr(entry, kind) for kind, title in LAWS.items()}
    if not any(kinds.values()):
        return
    yield "## Laws"
    yield ""
    for title, laws in kinds.items():
        yield from (f"- {title} {_law(law, title)}" for law in laws)
    yield ""


def _law(law: Law, title: str) -> str:
    """A law in words, with the techniques it speaks of."""
    tag = law.tag.rpartition(".")[2]
    others = [e for known in families().values() for e in known if tag in tags(e.provides)]
    terms = [f"{word} `{getattr(law, term)}`" for term, word in TERMS.items() if getattr(law, term)]
    said = " ".join([f"`{law.tag}`", *terms])
    if others and title != "Provides":
        said += f" ({', '.join(map(linked, others))})"
    return said + (f": {prose(law.why)}" if law.why else "")


def _paper(cited: Paper) -> Iterator[str]:
    yield "## Paper"
    yield ""
    where = cited.fields
    link = f"https://arxiv.org/abs/{where['eprint']}" if "eprint" in where else where.get("url", "")
    link = link or (f"https://doi.org/{where['doi']}" if "doi" in where else "")
    yield plain(str(cited)) + (f" [Read it]({link})" if link else "")
    yield ""
    yield f"```bibtex\n{cited.bibtex}\n```"
    yield ""


def _spaces(entry: Technique) -> Iterator[str]:
    users = [name for name, used in uses().items() if (entry.family, entry.name) in used]
    if not users:
        return
    yield "## Search spaces that hold it"
    yield ""
    if len(users) == len(uses()):
        yield "All that come along."
    else:
        yield ", ".join(f"[`{name}`](search_spaces/{name}.yaml)" for name in users)
    yield ""


@cache
def uses() -> Mapping[str, set[tuple[str, str]]]:
    """What each search space that comes along can draw, as families and names."""
    found = {}
    for name in shelf.names():
        space, _ = space_of(Settings(shipped() / f"{name}.yaml"))
        found[name] = {(entry.family, entry.name) for entry in used_by(space)}
    return found


@cache
def places() -> Mapping[str, list[str]]:
    """Where in a trial the techniques of each family stand."""
    found: dict[str, list[str]] = {}
    for path, family in _slots(Trial, ""):
        found.setdefault(family, []).append(path)
    return found


def _slots(model: type[BaseModel], above: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        slot, part = slot_of(field), part_of(field)
        if slot is not None:
            yield f"{above}{name}", slot.registry.family
        elif part is not None:
            yield from _slots(part, f"{above}{name}.")


@cache
def _named() -> Mapping[str, Technique]:
    """Techniques whose names are no other's."""
    known = [entry for techniques in families().values() for entry in techniques]
    names = [entry.name for entry in known]
    return {entry.name: entry for entry in known if names.count(entry.name) == 1}


def linked(entry: Technique) -> str:
    return f"[`{entry.name}`](docs/{page(entry)})"


def prose(text: str, *, html: bool = False) -> str:
    """A docstring's words in Markdown, or within a line of ``html``: names of techniques lead to
    their pages, and what an underscore puts below the line stands there."""
    parts = CODE.split(text)
    parts[::2] = [_lowered(part) for part in parts[::2]]
    parts[1::2] = [_coded(part, html=html) for part in parts[1::2]]
    return "".join(parts)


def _lowered(text: str) -> str:
    """Words without anything that Markdown would take for its own, and indices below the line."""
    words, last = [], 0
    for match in INDEXED.finditer(text):
        below, above = match["sub"] or match["term"], match["sup"]
        mark, index = ("sub", below) if below else ("sup", above)
        words += [plain(text[last : match.start()]), match["base"] or match["loss"] or ""]
        words.append(f"<{mark}>{plain(index.strip('{}'))}</{mark}>")
        last = match.end()
    return "".join([*words, plain(text[last:])])


def _coded(name: str, *, html: bool) -> str:
    """A word of code, which in a line of HTML is no Markdown."""
    if html:
        return f"<code>{plain(name)}</code>"
    entry = _named().get(name)
    return linked(entry) if entry else f"`{name}`"


def plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
