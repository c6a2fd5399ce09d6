"""A search space is a trial with holes in it; filling the holes gives a trial."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import sweeper
from sweeper.config import Misfit, Problem, Trial, Where, problems_of
from sweeper.registry import nearest
from sweeper.space import laws
from sweeper.space.axis import lasting
from sweeper.space.baselines import Baseline, Drawn
from sweeper.space.compile import Compiler
from sweeper.space.constraints import Constraint
from sweeper.space.document import (
    Budget,
    Confirm,
    Document,
    Limits,
    Objective,
    Published,
    Resources,
    Retries,
    Search,
)
from sweeper.space.grid import size
from sweeper.space.holes import Choice, Maybe, Suggester, fill, holes, settle
from sweeper.space.merge import merge, put
from sweeper.space.source import Fault, InputError, Mark, Source, parse_value, read

IN_FILE = {
    "extends": "a space extends another in its file, and nowhere else",
    "use": "files of techniques are named in the space, or by --use",
}
"""What ``--set`` cannot set, and why."""
ADAPTED = "base/dcgan.yaml"
"""The shipped base whose networks and latents the presets of data put others in the place of."""


@dataclass(frozen=True)
class SearchSpace:
    """A tree with holes, and how to search it."""

    name: str
    tree: dict[str, Any]
    constraints: tuple[Constraint, ...]
    baselines: tuple[Baseline, ...]
    given: tuple[Baseline, ...]
    search: Search
    confirm: Confirm
    budget: Budget
    objective: Objective
    resources: Resources
    retries: Retries
    limits: Limits
    published: tuple[Published, ...]
    source: Source

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """Every parameter that some draw has: its name, kind, and range or choices."""
        return [{"name": name, **hole.describe()} for name, hole in dict(holes(self.tree)).items()]

    @cached_property
    def brackets(self) -> str | None:
        """The choice that trials share which are judged among themselves; None if all are."""
        if self.budget.rungs is None:
            return None
        by = self.budget.rungs.by
        if by is None:
            return "architecture" if "architecture" in _choices(self.tree) else None
        return None if by == "none" else by

    def at_most(self, trials: int) -> int:
        """So many trials, baselines and given ones among them, or as many as a grid has."""
        if self.search.method != "grid":
            return trials
        return min(trials, len(self.baselines) + len(self.given) + size(self.tree))

    def sample(self, suggester: Suggester) -> Trial:
        """Fill every hole. Raises Misfit when the draw breaks a law."""
        return self.made(settle(fill(self.tree, suggester)))

    def walk(self, suggester: Suggester) -> None:
        """Ask for a value at every hole of the branches taken, and make nothing of it."""
        fill(self.tree, suggester)

    def baseline(self, baseline: Baseline) -> tuple[dict[str, Any], Trial]:
        """The parameters that a baseline, or a trial that is given, stands for, and its trial.
        Raises Misfit."""
        drawn = Drawn(self.tree, baseline.given)
        trial = self.made(drawn.tree)
        plain = trial.plain()
        if problems := drawn.missing(plain):
            raise Misfit(problems)
        return drawn.params(plain), trial

    def made(self, tree: dict[str, Any]) -> Trial:
        """The trial of a tree without holes. Raises Misfit when it breaks a law."""
        trial = Trial.read(tree)
        plain = trial.plain()
        if problems := [p for i, c in enumerate(self.constraints) if (p := _broken(c, i, plain))]:
            raise Misfit(problems)
        return lasting(self.budget.axis, trial)

    def fault(self, problem: Problem) -> Fault:
        """A problem of a draw, at the place in the file that allowed it."""
        inside = problem.path[:1] and problem.path[0] in Document.model_fields
        return self.source.fault(
            problem if inside else replace(problem, path=("trial", *problem.path))
        )


def _broken(constraint: Constraint, index: int, plain: dict[str, Any]) -> Problem | None:
    where = ("constraints", index)
    try:
        if constraint.holds(plain):
            return None
    except ValueError as error:
        return Problem(where, f"the constraint {constraint.text!r} cannot be judged: {error}")
    return Problem(where, f"the constraint {constraint.text!r} does not hold")


def shipped() -> Path:
    """The folder of search spaces that come with sweeper."""
    beside = Path(sweeper.__file__).parent.parent / "search_spaces"
    return beside if beside.is_dir() else Path(sweeper.__file__).parent / "search_spaces"


def load(
    path: Path,
    *,
    preset: Source | None = None,
    overrides: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    use: Sequence[Path] = (),
) -> SearchSpace:
    """Read a search space, with what it extends and the preset of its data below it and ``--set``
    above. ``use`` are the files of techniques that were brought for it.

    Raises InputError with every problem of the file.
    """
    merged = _brought(_whole(path, preset), use)
    for text in overrides:
        merged = _overridden(merged, text)
    if data is not None and isinstance(merged.tree.get("trial", {}), dict):
        merged = Source(put(merged.tree, ("trial", "data"), data), merged.marks)
    return _compile(Source({"name": path.stem} | merged.tree, merged.marks))


def written_in(path: Path) -> list[Path]:
    """The files that a valid search space is written in: its own, and those it extends that do not
    come with sweeper. Raises InputError."""
    found = [path]
    while isinstance(name := read(found[-1]).tree.get("extends"), str):
        below = _find(name, found[-1])
        if below is None or below.resolve().is_relative_to(shipped().resolve()):
            break
        found.append(below)
    return found


def data_of(path: Path) -> Any:
    """The data set that a search space, or what it extends, names; None if it names none. Raises
    InputError."""
    trial = _whole(path, None).tree.get("trial")
    return trial.get("data") if isinstance(trial, dict) else None


def _whole(path: Path, preset: Source | None) -> Source:
    """A file, upon the preset of its data, upon what it extends."""
    return _extended(_as_space(read(path), path), path, preset, seen=(path.resolve(),))


def _as_space(own: Source, path: Path) -> Source:
    """A file may hold a trial, maybe with the files that it uses, and nothing else; that is a space
    without holes. The files are named from where it lies."""
    tree, use = dict(own.tree), dict[str, Any]()
    if "use" in tree:
        named = tree.pop("use")
        beside = isinstance(named, list) and all(isinstance(file, str) for file in named)
        use["use"] = [str(path.parent / file) for file in named] if beside else named
    if tree.keys() & Document.model_fields.keys() or not tree.keys() & Trial.model_fields.keys():
        return Source(tree | use, own.marks)
    marks = {w if w[:1] == ("use",) else ("trial", *w): m for w, m in own.marks.items()}
    return Source({"trial": tree} | use, marks)


def _brought(source: Source, use: Sequence[Path]) -> Source:
    """A source whose files of techniques were all brought. Raises InputError."""
    named, there = source.tree.get("use"), {path.resolve() for path in use}
    faults = []
    for i, file in enumerate(named if isinstance(named, list) else []):
        if isinstance(file, str) and Path(file).resolve() not in there:
            typed = shlex.quote(os.path.relpath(file))
            law = f"this runs the code in {typed}: if you trust it, add --use {typed}"
            faults.append(source.fault(Problem(("use", i), law)))
    if faults:
        raise InputError(faults)
    return source


def _extended(own: Source, path: Path, preset: Source | None, seen: tuple[Path, ...]) -> Source:
    """A space upon what it extends, and that upon the preset of its data: what a file says wins
    over the preset, but for the base that presets are made to adapt to their data."""
    name = own.tree.get("extends")
    below, layers = Source({}, {}), [own]
    if isinstance(name, str):
        found = _find(name, path)
        if found is None:
            known = [p.relative_to(shipped()).as_posix() for p in sorted(shipped().rglob("*.yaml"))]
            law = f"there is no {name} beside this file or among the spaces that ship"
            raise InputError([own.fault(Problem(("extends",), law, nearest(name, known)))])
        if found.resolve() in seen:
            chain = " extends ".join(p.name for p in (*seen, found))
            law = f"a space does not extend itself, but {chain}"
            raise InputError([own.fault(Problem(("extends",), law))])
        base = _as_space(read(found), found)
        below = _without("name", _extended(base, found, preset, (*seen, found.resolve())))
    elif preset is not None:
        adapted = path.resolve() == (shipped() / ADAPTED).resolve()
        layers = [own, preset] if adapted else [preset, own]
    for layer in layers:
        below = _laid(below, layer)
    return _without("extends", below)


def _without(key: str, source: Source) -> Source:
    return Source({k: v for k, v in source.tree.items() if k != key}, source.marks)


def _laid(below: Source, layer: Source) -> Source:
    """One source upon another. What is replaced as a whole loses its places in the file below."""
    whole = {path for path in layer.marks if not isinstance(_part(layer.tree, path), dict)}
    kept = {
        path: mark
        for path, mark in below.marks.items()
        if not any(path[:length] in whole for length in range(1, len(path)))
    }
    return Source(merge(below.tree, layer.tree), {**kept, **layer.marks})


def _part(tree: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _find(name: str, path: Path) -> Path | None:
    return next((p for p in (path.parent / name, shipped() / name) if p.is_file()), None)


def _overridden(source: Source, text: str) -> Source:
    """A source with a value of ``--set`` in it. Paths start in the trial, or at the top."""
    name, equals, value = text.partition("=")
    mark = Mark(f"--set {text}")
    if not equals or not name.strip():
        law = "an override is path=value, such as batch.size=32"
        raise InputError([Fault(mark, Problem((), law))])
    keys = tuple(name.strip().split("."))
    top = [key for key in Document.model_fields if key not in IN_FILE]
    root = (
        keys[0] if keys[0] in Trial.model_fields else nearest(keys[0], [*top, *Trial.model_fields])
    )
    path = keys if root in top else ("trial", *keys)
    if keys[0] in IN_FILE:
        raise InputError([Fault(mark, Problem((keys[0],), IN_FILE[keys[0]]))])
    try:
        layer = Source(put({}, path, parse_value(value)), _new(source.tree, path, mark))
    except ValueError as error:
        raise InputError([Fault(mark, Problem((), str(error)))]) from None
    return _laid(source, layer)


def _new(tree: Any, path: Where, mark: Mark) -> dict[Where, Mark]:
    """The marks of a path whose later part may not be in a tree yet."""
    marks = {path: mark}
    for length, key in enumerate(path, 1):
        if not isinstance(tree, dict) or key not in tree:
            return marks | {path[:n]: mark for n in range(length, len(path))}
        tree = tree[key]
    return marks


def _compile(source: Source) -> SearchSpace:
    """Check everything that was written, part by part, and then the laws over the whole."""
    problems: list[Problem] = []
    document = _document(source, problems)
    trial, tree = source.tree.get("trial"), dict[str, Any]()
    if isinstance(trial, dict):
        horizon = _horizon(trial, document, problems)
        tree = Compiler(problems.append).model(Trial, trial | horizon, ("trial",))
        problems += laws.searched(tree)
    sound = not any(problem.path[0] in ("trial", "budget") for problem in problems)
    constraints = _constraints(source.tree.get("constraints"), problems)
    if sound:
        problems += laws.broken(tree, constraints)
        if document is not None:
            problems += laws.sought(tree, document)
            problems += _counted_elsewhere(document, source)
    _refuse(source, problems)
    assert document is not None
    space = SearchSpace(
        document.name,
        tree,
        tuple(constraints.values()),
        tuple(map(Baseline.read, document.baselines, count())),
        tuple(map(Baseline.read, document.given, count())),
        document.search,
        document.confirm,
        document.budget,
        document.objective,
        document.resources,
        document.retries,
        document.limits,
        tuple(document.published),
        source,
    )
    _refuse(source, [*_no_bracket(space), *_unfit(space)])
    return space


def _refuse(source: Source, problems: Sequence[Problem]) -> None:
    if problems:
        faults = list(dict.fromkeys(map(source.fault, problems)))
        faults.sort(key=lambda fault: (fault.mark.file, fault.mark.line, fault.mark.column))
        raise InputError(faults)


def _document(source: Source, problems: list[Problem]) -> Document | None:
    try:
        return Document.model_validate(source.tree)
    except ValidationError as error:
        for problem in problems_of(error, Document):
            misplaced = len(problem.path) == 1 and problem.path[0] in Trial.model_fields
            hint = f"trial.{problem.path[0]}" if misplaced else problem.hint
            problems.append(replace(problem, hint=hint))
        return None


def _horizon(
    trial: dict[str, Any], document: Document | None, problems: list[Problem]
) -> dict[str, Any]:
    """What follows from the budget: how far a trial goes, unless it says so itself, and an
    evaluation every ninth of it."""
    if document is None:  # the budget's own problems are told of already
        return {"horizon_kimg": 1.0}
    horizon = trial.get("horizon_kimg", document.budget.max)
    if horizon is None:
        law = "budget.max says how many thousand images a trial may see, but it is not set"
        problems.append(Problem(("budget",), law))
        return {"horizon_kimg": 1.0}
    evaluation = trial.get("evaluation", {})
    if isinstance(horizon, int | float) and isinstance(evaluation, dict):
        evaluation = {"every_kimg": horizon / 9} | evaluation
    return {"horizon_kimg": horizon, "evaluation": evaluation}


def _counted_elsewhere(document: Document, source: Source) -> list[Problem]:
    """Presets of data count how long a trial is in thousands of images."""
    written = source.marks.get(("budget", "max"))
    preset = written is None or Path(written.file).parent == shipped() / "data"
    if document.budget.axis == "kimg" or not preset:
        return []
    law = f"the preset of the data counts budget.max in kimg, so set it in {document.budget.axis}"
    return [Problem(("budget", "axis"), law)]


def _constraints(written: Any, problems: list[Problem]) -> dict[int, Constraint]:
    parsed = {}
    for i, text in enumerate(written if isinstance(written, list) else []):
        try:
            if isinstance(text, str):
                parsed[i] = Constraint.parse(text)
        except ValueError as error:
            problems.append(Problem(("constraints", i), str(error)))
    return parsed


def _unfit(space: SearchSpace) -> list[Problem]:
    """What keeps baselines, and trials that are given, from being trials: each problem where its
    cause is set."""
    problems, seen = [], set[str]()
    listed = [("baselines", i, baseline) for i, baseline in enumerate(space.baselines)]
    listed += [("given", i, given) for i, given in enumerate(space.given)]
    for where_from, i, baseline in listed:
        if where_from == "baselines" and baseline.name in seen:
            law = f"baselines differ by name, but two are called {baseline.name!r}"
            problems.append(Problem(("baselines", i), law))
        seen.add(baseline.name)
        try:
            space.baseline(baseline)
        except Misfit as misfit:
            for problem in misfit.problems:
                path = ".".join(map(str, problem.path))
                cause = [key for key in baseline.given if _related(key, path)]
                where: Where = (where_from, i, *([path] if path in cause else cause[:1]))
                law = problem.law if cause else f"{baseline.name!r} is no trial: {problem}"
                problems.append(Problem(where, law, problem.hint))
    return problems


def _choices(tree: Any) -> list[str]:
    return [name for name, hole in holes(tree) if isinstance(hole, Choice | Maybe)]


def _no_bracket(space: SearchSpace) -> list[Problem]:
    by, known = space.brackets, _choices(space.tree)
    if by is None or by in known:
        return []
    law = f"trials are judged among those of a choice that is searched, but {by} is none"
    return [Problem(("budget", "rungs", "by"), law, nearest(by, known))]


def _related(one: str, other: str) -> bool:
    """Whether one of two paths leads to the other."""
    shorter, longer = sorted((f"{one}.", f"{other}."), key=len)
    return longer.startswith(shorter)
