"""Laws over a whole space, beyond what each of its parts must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweeper.config import Problem, Where
from sweeper.registry import nearest
from sweeper.space.constraints import Constraint
from sweeper.space.document import Document
from sweeper.space.grid import unlisted
from sweeper.space.holes import Choice, Float, Int, Maybe, Ratio, Same, branches, holes

FIXED = {
    "data": "all trials of a sweep train on the same data",
    "diagnostics": "all trials of a sweep are watched alike",
    "evaluation": "all trials of a sweep are measured alike",
    "horizon_kimg": "how far trials go is decided by the budget and its rungs",
    "seed": "the seeds of trials follow from search.seed",
}

MEASURED = {
    "precision": "precision_recall",
    "recall": "precision_recall",
    "density": "density_coverage",
    "coverage": "density_coverage",
}
"""The metric that measures what may stand beside the score."""


def broken(tree: dict[str, Any], constraints: Mapping[int, Constraint]) -> list[Problem]:
    """The laws of how parts of a sound tree, and constraints, go together."""
    return [*_named(tree), *_constrained(tree, constraints), *_multiplied(tree)]


def searched(tree: dict[str, Any]) -> Iterator[Problem]:
    """Some parts of a trial are not searched."""
    for name, _ in holes(tree):
        root = name.partition(".")[0]
        if root in FIXED:
            yield Problem(("trial", *name.split(".")), f"{FIXED[root]}, but here is a hole")


def sought(tree: dict[str, Any], document: Document) -> Iterator[Problem]:
    """The laws of how a sound tree is searched."""
    method, beside = document.search.method, document.objective.beside
    if method == "grid":
        yield from unlisted(tree)
    if method == "nsga2" and document.budget.rungs is not None:
        law = "nsga2 compares trials that went all the way, but rungs stop some of them"
        yield Problem(("search", "method"), law, "budget: {rungs: none}")
    if method != "nsga2" and beside:
        law = f"beside the score, only nsga2 looks at anything, but method is {method}"
        yield Problem(("objective", "beside"), law)
    for i, name in enumerate(beside):
        metric = MEASURED.get(name)
        if metric is not None and metric not in tree["evaluation"]["metrics"]:
            law = f"{name} is measured by {metric}, which evaluation.metrics does not have"
            yield Problem(("objective", "beside", i), law)


def _named(tree: dict[str, Any]) -> Iterator[Problem]:
    """A parameter is searched in one way, in whichever branch it is."""
    seen = dict[str, Any]()
    for name, hole in holes(tree):
        if seen.setdefault(name, hole) != hole:
            law = f"{name} is searched in one way, but two options of a choice differ in it"
            yield Problem(("trial", *name.split(".")), law)


def _constrained(tree: dict[str, Any], constraints: Mapping[int, Constraint]) -> Iterator[Problem]:
    """Constraints speak of paths that some draw has."""
    known = set(some(tree))
    for i, constraint in constraints.items():
        for path in sorted(constraint.paths - known):
            law = f"there is no {path} in this space"
            yield Problem(("constraints", i), law, nearest(path, known))


def _multiplied(tree: dict[str, Any]) -> Iterator[Problem]:
    """Ratios are of numbers that every draw has which has the ratio, and not of one another."""
    for path, ratio, there in _ratios(tree, "", every(tree)):
        a, key = ("a ratio", "ratio_of") if isinstance(ratio, Ratio) else ("same_as", "same_as")
        where: Where = ("trial", *path.split("."), key)
        if ratio.of not in there:
            some_have = ratio.of in set(some(tree))
            has = "only some draws have" if some_have else "there is no"
            law = f"{a} is of a number that every draw has, but {has} {ratio.of}"
            yield Problem(where, law, nearest(ratio.of, [p for p in there if p != path]))
        elif not _numeric(there[ratio.of]):
            yield Problem(where, f"{a} is of a number, but {ratio.of} is none")
        elif _circular(ratio, there):
            yield Problem(where, f"{a} leads to a number, but {path} leads back to itself")


def _ratios(
    node: Any, path: str, there: Mapping[str, Any]
) -> Iterator[tuple[str, Ratio | Same, Mapping[str, Any]]]:
    """Every ratio, with all that a draw has which has it; that of what is the same is one."""
    match node:
        case Ratio() | Same():
            yield path, node, there
        case dict():
            for key, child in node.items():
                yield from _ratios(child, f"{path}.{key}".lstrip("."), there)
        case Choice() | Maybe():
            for branch in branches(node):
                yield from _ratios(branch, path, {**there, **every(branch, path)})


def _numeric(node: Any) -> bool:
    match node:
        case bool():
            return False
        case int() | float() | Float() | Int() | Ratio() | Same():
            return True
        case Choice(options=options):
            return all(map(_numeric, options))
    return False


def _circular(ratio: Ratio | Same, there: Mapping[str, Any]) -> bool:
    seen = set[str]()
    node: Any = ratio
    while isinstance(node, Ratio | Same):
        if node.of in seen:
            return True
        seen.add(node.of)
        node = there.get(node.of)
    return False


def some(node: Any, path: str = "") -> Iterator[str]:
    """Every path that some draw has."""
    if path:
        yield path
    for branch in branches(node):
        if isinstance(branch, dict):
            for key, child in branch.items():
                yield from some(child, f"{path}.{key}".lstrip("."))


def every(node: Any, path: str = "") -> dict[str, Any]:
    """What stands at every path that all draws have."""
    found = {path: node} if path else {}
    below = [
        {
            deeper: part
            for key, child in branch.items()
            for deeper, part in every(child, f"{path}.{key}".lstrip(".")).items()
        }
        if isinstance(branch, dict)
        else {}
        for branch in branches(node)
    ]
    shared = set(below[0]).intersection(*below[1:])
    return found | {deeper: below[0][deeper] for deeper in below[0] if deeper in shared}
