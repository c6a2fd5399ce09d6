"""A search space is a trial with holes in it; filling the holes gives a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

import sweeper
from sweeper.config import Misfit, Problem, Trial, Where, problems_of
from sweeper.registry import nearest
from sweeper.space.compile import Compiler
from sweeper.space.constraints import Constraint
from sweeper.space.holes import Fixed, Ratio, Suggester, at, fill, holes, settle
from sweeper.space.merge import merge, put
from sweeper.space.source import InputError, Fault, Mark, Source, parse_value, read


def fraction(value: Any) -> Any:
    """``1/9`` is the number it says."""
    try:
        return float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        return value


class Settings(BaseModel):
    """Part of a search space beside the trial: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Search(Settings):
    """How holes are filled, how many trials there are, and the seed of it all."""

    method: Literal["tpe", "random"] = "tpe"
    trials: Annotated[int, Ge(1)] = 24
    seed: Annotated[int, Ge(0)] = 0


class Rungs(Settings):
    """Where ASHA judges: at ``first`` of the budget, and every ``factor`` times further. One in ``factor`` goes on."""

    first: Annotated[float, BeforeValidator(fraction), Field(gt=0, lt=1)] = 1 / 9
    factor: Annotated[int, Ge(2)] = 3


class Budget(Settings):
    """How far a trial may go, on which axis, and where it is judged on the way."""

    axis: Literal["kimg"] = "kimg"
    max: Annotated[float, Gt(0)] | None = None
    rungs: Rungs = Rungs()


class Objective(Settings):
    """What is minimised. The data says in which features the Fréchet distance is taken."""

    metric: Literal["fid"] = "fid"
    mode: Literal["min"] = "min"


class Resources(Settings):
    """What one trial is given."""

    cpu: Annotated[int, Ge(1)] = 1
    gpu: Annotated[float, Ge(0)] | Literal["auto"] = "auto"


class Document(Settings):
    """A search space as it is written."""

    name: str | None = None
    extends: str | None = None
    trial: dict[str, Any]
    constraints: list[str] = []
    baselines: list[dict[str, Any]] = []
    search: Search = Search()
    budget: Budget = Budget()
    objective: Objective = Objective()
    resources: Resources = Resources()


@dataclass(frozen=True)
class Baseline:
    """A named trial that is always run, to the full budget: the given values, and the plainest of everything else."""

    name: str
    given: Mapping[str, Any]


@dataclass(frozen=True)
class SearchSpace:
    """A tree with holes, and how to search it."""

    name: str
    tree: dict[str, Any]
    constraints: tuple[Constraint, ...]
    baselines: tuple[Baseline, ...]
    search: Search
    budget: Budget
    objective: Objective
    resources: Resources
    source: Source

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """Every parameter that some draw has: its name, kind, and range or choices."""
        return [{"name": name, **hole.describe()} for name, hole in holes(self.tree)]

    def sample(self, suggester: Suggester) -> Trial:
        """Fill every hole. Raises Misfit when the draw breaks a law."""
        return self._trial(fill(self.tree, suggester))

    def walk(self, suggester: Suggester) -> None:
        """Ask for a value at every hole of the branches taken, and make nothing of it."""
        fill(self.tree, suggester)

    def baseline(self, baseline: Baseline) -> tuple[dict[str, Any], Trial]:
        """The parameters that a baseline stands for, and its trial. Raises Misfit."""
        tree, given, ratios = self.tree, {}, {}
        names, multiples = dict(holes(tree)), dict(_ratios(tree))
        for path, value in _flat(baseline.given, names):
            if path in names:
                given[path] = value
                continue
            tree = put_compiled(tree, path, value)
            if path in multiples:
                ratios[f"{path}.ratio"] = (value, multiples[path].of)
        fixed = Fixed(tree, given)
        trial = self._trial(fill(tree, fixed))
        plain = trial.plain()
        return fixed.params | {
            name: value / at(plain, of) for name, (value, of) in ratios.items()
        }, trial

    def _trial(self, filled: dict[str, Any]) -> Trial:
        try:
            trial = Trial.read(settle(filled))
        except LookupError as error:
            problem = Problem(
                (), f"a ratio is of a value that the draw has, but it has no {error.args[0]}"
            )
            raise Misfit([problem]) from None
        plain = trial.plain()
        broken = [Problem(("constraints",), c.text) for c in self.constraints if not c.holds(plain)]
        if broken:
            raise Misfit(
                [Problem(p.path, f"the constraint {p.law!r} does not hold") for p in broken]
            )
        return trial

    def fault(self, problem: Problem) -> Fault:
        """A problem of a draw, at the place in the file that allowed it."""
        inside = problem.path[:1] in {("constraints",), ("baselines",), ("budget",), ("search",)}
        path = problem.path if inside else ("trial", *problem.path)
        return Fault(self.source.mark(path), problem)


def _flat(
    given: Mapping[str, Any], names: Mapping[str, Any], path: str = ""
) -> list[tuple[str, Any]]:
    """Settings by dotted path; a technique with knobs is its label, and its knobs below."""
    flat = []
    for key, value in given.items():
        where = f"{path}.{key}".lstrip(".")
        if isinstance(value, Mapping) and where in names:
            label = (
                True if names[where].describe()["choices"] == [False, True] else next(iter(value))
            )
            flat += [(where, label), *_flat(value, names, where)]
        else:
            flat.append((where, value))
    return flat


def put_compiled(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A compiled tree with a constant at a path. Raises Misfit when the path leads nowhere."""
    head, _, rest = path.partition(".")
    if not rest:
        return tree | {head: value}
    below = tree.get(head)
    if below is None:
        below = {}
    if not isinstance(below, dict):
        raise Misfit(
            [Problem((), f"a baseline sets what every draw has, but {path} is inside a choice")]
        )
    return tree | {head: put_compiled(below, rest, value)}


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
) -> SearchSpace:
    """Read a search space, with what it extends below it, the preset of its data between, and ``--set`` above.

    Raises InputError with every problem of the file.
    """
    own = read(path)
    if "trial" not in own.tree and "loss" in own.tree:
        own = Source(
            {"trial": own.tree},
            {("trial", *where) if where else (): m for where, m in own.marks.items()},
        )
    merged = _extended(own, path, preset, seen=(path.resolve(),))
    for text in overrides:
        merged = _overridden(merged, text)
    if data is not None:
        merged = Source(put(merged.tree, ("trial", "data"), data), merged.marks)
    return _compile(merged, path.stem)


def _extended(own: Source, path: Path, preset: Source | None, seen: tuple[Path, ...]) -> Source:
    name = own.tree.get("extends")
    below = Source({}, {})
    if name is not None:
        found = _find(str(name), path)
        if found is None or found.resolve() in seen:
            known = sorted(str(p.relative_to(shipped())) for p in shipped().rglob("*.yaml"))
            law = (
                "extends itself"
                if found
                else f"there is no {name} beside this file or among those that ship"
            )
            raise InputError([own.fault(Problem(("extends",), law, nearest(str(name), known)))])
        below = _extended(read(found), found, None, (*seen, found.resolve()))
    for layer in filter(None, (preset, own)):
        below = Source(merge(below.tree, layer.tree), {**below.marks, **layer.marks})
    return Source({k: v for k, v in below.tree.items() if k != "extends"}, below.marks)


def _find(name: str, path: Path) -> Path | None:
    return next((p for p in (path.parent / name, shipped() / name) if p.is_file()), None)


def _overridden(source: Source, text: str) -> Source:
    name, equals, value = text.partition("=")
    mark = Mark(f"--set {text}", 1, 1)
    if not equals or not name:
        raise InputError([Fault(mark, Problem((), "an override is path=value"))])
    keys: Where = tuple(name.strip().split("."))
    path = keys if keys[0] in Document.model_fields else ("trial", *keys)
    marks = {k: m for k, m in source.marks.items() if k[: len(path)] != path}
    return Source(put(source.tree, path, parse_value(value)), {**marks, path: mark})


def _compile(source: Source, stem: str) -> SearchSpace:
    problems: list[Problem] = []
    try:
        document = Document.model_validate(source.tree)
    except ValidationError as error:
        problems += problems_of(error, Document)
        document = Document.model_construct(trial=source.tree.get("trial") or {})
    compiler = Compiler(problems.append)
    tree = compiler.model(Trial, source.tree.get("trial") or {}, ("trial",))
    if not problems:
        tree = _complete(tree, document, problems)
    constraints = _constraints(document, problems)
    if problems:
        raise InputError(
            sorted(
                map(source.fault, problems), key=lambda f: (f.mark.file, f.mark.line, f.mark.column)
            )
        )
    space = SearchSpace(
        document.name or stem,
        tree,
        constraints,
        tuple(_baseline(b, i) for i, b in enumerate(document.baselines)),
        document.search,
        document.budget,
        document.objective,
        document.resources,
        source,
    )
    _check(space)
    return space


def _complete(tree: dict[str, Any], document: Document, problems: list[Problem]) -> dict[str, Any]:
    """Fill in what follows from the budget: the horizon, and an evaluation every ninth of it."""
    if document.budget.max is not None:
        tree = {"horizon_kimg": document.budget.max, **tree}
    horizon = tree.get("horizon_kimg")
    if isinstance(horizon, int | float):
        evaluation = {"every_kimg": horizon / 9, **tree.get("evaluation", {})}
        tree = {**tree, "evaluation": evaluation}
    else:
        problems.append(
            Problem(("budget",), "budget.max says how many kimg a trial may see, but it is not set")
        )
    return tree


def _constraints(document: Document, problems: list[Problem]) -> tuple[Constraint, ...]:
    parsed = []
    for i, text in enumerate(document.constraints):
        try:
            parsed.append(Constraint.parse(text))
        except ValueError as error:
            problems.append(Problem(("constraints", i), str(error)))
    return tuple(parsed)


def _baseline(written: Mapping[str, Any], index: int) -> Baseline:
    given = {k: v for k, v in written.items() if k != "name"}
    return Baseline(str(written.get("name", f"baseline {index + 1}")), given)


def _check(space: SearchSpace) -> None:
    """Laws over the whole space: ratios and constraints speak of paths that exist, baselines are trials."""
    faults = []
    try:
        _, plain = space.baseline(Baseline("", {}))
        known = set(paths(plain.plain()))
    except Misfit:
        known = set()
    known |= {name for name, _ in holes(space.tree)} | set(paths(space.tree))
    for i, constraint in enumerate(space.constraints):
        for path in sorted(constraint.paths - known):
            problem = Problem(
                ("constraints", i), f"there is no {path} in this space", nearest(path, known)
            )
            faults.append(space.source.fault(problem))
    for name, node in _ratios(space.tree):
        if node.of not in known:
            where: Where = ("trial", *name.split("."), "ratio_of")
            law = f"a ratio is of a path that every draw has, but there is no {node.of}"
            faults.append(space.source.fault(Problem(where, law, nearest(node.of, known))))
    for i, baseline in enumerate(space.baselines):
        faults += _baseline_faults(space, baseline, i, known)
    if faults:
        raise InputError(faults)


def _baseline_faults(
    space: SearchSpace, baseline: Baseline, index: int, known: set[str]
) -> list[Fault]:
    for path in baseline.given:
        if path not in known and not any(k.startswith(f"{path}.") for k in known):
            law = f"a baseline sets paths of the trial, but there is no {path}"
            return [
                space.source.fault(Problem(("baselines", index, path), law, nearest(path, known)))
            ]
    try:
        space.baseline(baseline)
    except Misfit as misfit:
        return [space.source.fault(Problem(("baselines", index), str(p))) for p in misfit.problems]
    return []


def _ratios(node: Any, path: str = "") -> list[tuple[str, Ratio]]:
    match node:
        case Ratio():
            return [(path, node)]
        case dict():
            return [
                found
                for key, child in node.items()
                for found in _ratios(child, f"{path}.{key}".lstrip("."))
            ]
    return []


def paths(tree: Any, path: str = "") -> list[str]:
    """Every dotted path of a tree."""
    if not isinstance(tree, dict):
        return [path]
    below = [p for key, child in tree.items() for p in paths(child, f"{path}.{key}".lstrip("."))]
    return [path, *below] if path else below
