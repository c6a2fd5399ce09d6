"""YAML as it was written: plain data, and the file, line and column of every part of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt

from sweeper.problem import Problem, Where, show


@dataclass(frozen=True)
class Mark:
    """A place in a file, counted from one, and the line that stands there; or an option of the
    command line, which has no lines."""

    file: str
    line: int = 0
    column: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Fault:
    """A problem, and where it stands."""

    mark: Mark
    problem: Problem

    def __str__(self) -> str:
        lines = [f"{self.mark}: {self.problem}"]
        if self.mark.text:
            indent = re.sub(r"[^\t]", " ", self.mark.text[: self.mark.column - 1])
            lines += [f"  {self.mark.line:>4} | {self.mark.text}", f"       | {indent}^"]
        if self.problem.hint:
            lines.append(f"  did you mean {self.problem.hint}?")
        return "\n".join(lines)


class InputError(ValueError):
    """What the user gave breaks one or more laws. Its text names every one of them, and where."""

    def __init__(self, faults: Iterable[Fault | str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True)
class Source:
    """A tree of plain data and the marks of its parts, by path."""

    tree: dict[str, Any]
    marks: Mapping[Where, Mark]

    def mark(self, path: Where) -> Mark:
        """The place of a part, or of the nearest part around it that was written down.

        The path may be that of a draw, in which nothing is left of the holes that it came from.
        """
        written: Where = ()
        node: Any = self.tree
        for key in path:
            steps = _steps(node, key)
            if steps is None:
                break
            for step in steps:
                node = node[step]
            written = (*written, *steps)
        for length in range(len(written), -1, -1):
            if written[:length] in self.marks:
                return self.marks[written[:length]]
        return Mark("the search space")

    def fault(self, problem: Problem) -> Fault:
        return Fault(self.mark(problem.path), problem)


def _steps(node: Any, key: str | int) -> Where | None:
    """The keys that lead from a part to what a draw has under ``key``: one, or more through a hole,
    or none where a bare name stands for it."""
    match node:
        case str() if node == key:
            return ()
        case list() if isinstance(key, int):
            return (key,) if key < len(node) else None
        case list():
            return (node.index(key),) if key in node else None
        case {"maybe": inner} if key != "maybe":
            below = _steps(inner, key)
            return None if below is None else ("maybe", *below)
        case {"choice": list(options)} if key != "choice":
            for i, option in enumerate(options):
                below = () if option is key else _steps(option, key)
                if below is not None:
                    return ("choice", i, *below)
        case dict():
            return (key,) if key in node else None
    return None


def read(path: Path, what: str = "a search space") -> Source:
    """A YAML file whose top is a mapping. Raises InputError, which says what the file should be.

    It is YAML 1.2: ``1e-4`` is a number, and ``on`` and ``no`` are names.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError([f"{path}: {what} is a YAML file, but {reason}"]) from None
    lines = text.splitlines()

    def mark(line: int, column: int) -> Mark:
        return Mark(str(path), line + 1, column + 1, lines[line] if line < len(lines) else "")

    try:
        data = YAML(typ="rt").load(text)
        marks: dict[Where, Mark] = {(): mark(0, 0)}
        for where, at in _places(data, ()):
            marks[where] = mark(*at)
        tree = plain(data)
    except MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        law = f"this is not valid YAML: {_reason(error)}"
        place = mark(at.line, at.column) if at else mark(0, 0)
        raise InputError([Fault(place, Problem((), law))]) from None
    except YAMLError as error:
        raise InputError([f"{path}: this is not valid YAML: {error}"]) from None
    except RecursionError:
        raise InputError([f"{path}: {what} does not contain itself"]) from None
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else show(tree)
        law = f"{what} is a mapping, but got {found}"
        raise InputError([Fault(mark(0, 0), Problem((), law))])
    return Source(tree, marks)


def _reason(error: MarkedYAMLError) -> str:
    """What a parser says, without what it says twice."""
    problem = (error.problem or "").partition(" (original")[0]
    return f"{error.context}, {problem}" if problem.startswith("but ") else problem


def _places(node: Any, where: Where) -> Iterable[tuple[Where, tuple[int, int]]]:
    """The line and column, from zero, of every key and item. What a ``<<`` merged in, or what has a
    tag, has none."""
    match node:
        case CommentedMap():
            written = node.lc.data or {}
            for key, value in node.items():
                if key in written:
                    yield (*where, str(key)), node.lc.key(key)
                yield from _places(value, (*where, str(key)))
        case CommentedSeq():
            written = node.lc.data or {}
            for i, value in enumerate(node):
                if i in written:
                    yield (*where, i), node.lc.item(i)
                yield from _places(value, (*where, i))


def parse_value(text: str) -> Any:
    """The value of ``--set path=value``, read as YAML. Raises ValueError."""
    try:
        return plain(YAML(typ="rt").load(text))
    except MarkedYAMLError as error:
        raise ValueError(f"{text!r} is not valid YAML: {error.problem}") from None
    except (YAMLError, RecursionError) as error:
        raise ValueError(f"{text!r} is not valid YAML: {error}") from None


def plain(node: Any) -> Any:
    """What was read, as plain data whose keys are text."""
    match node:
        case CommentedMap():
            return {str(key): plain(value) for key, value in node.items()}
        case CommentedSeq():
            return [plain(value) for value in node]
        case ScalarBoolean():
            return bool(node)
        case ScalarInt():
            return int(node)
        case ScalarFloat():
            return float(node)
        case str():
            return str(node)
    return node
