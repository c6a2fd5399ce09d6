"""YAML as it was written: plain data, and the file, line and column of every part of it."""

from __future__ import annotations

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

from sweeper.config import Problem, Where


@dataclass(frozen=True)
class Mark:
    """A place in a file, counted from one, and the line that stands there."""

    file: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Fault:
    """A problem, and where it stands."""

    mark: Mark
    problem: Problem

    def __str__(self) -> str:
        lines = [f"{self.mark}: {self.problem}"]
        if self.mark.text:
            lines += [
                f"  {self.mark.line:>4} | {self.mark.text}",
                f"       | {' ' * (self.mark.column - 1)}^",
            ]
        if self.problem.hint:
            lines.append(f"  did you mean {self.problem.hint!r}?")
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
        """The place of a part, or of the nearest part around it that was written down."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.marks:
                return self.marks[path[:length]]
        return Mark("<input>", 1, 1)

    def fault(self, problem: Problem) -> Fault:
        return Fault(self.mark(problem.path), problem)


def read(path: Path) -> Source:
    """A YAML file whose top is a mapping. YAML 1.2: ``1e-4`` is a number, ``on`` and ``no`` are names. Raises
    InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(
            [f"{path}:1:1: a search space is a YAML file, but it cannot be read: {reason}"]
        ) from None
    lines = text.splitlines()
    try:
        data = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = _mark(path, lines, at.line if at else 0, at.column if at else 0)
        raise InputError([Fault(mark, Problem((), f"not valid YAML: {error.problem}"))]) from None
    except YAMLError as error:
        raise InputError([f"{path}:1:1: not valid YAML: {error}"]) from None
    if not isinstance(data, CommentedMap):
        law = f"a search space is a mapping, but got {type(data).__name__}"
        raise InputError([Fault(_mark(path, lines, 0, 0), Problem((), law))])
    marks: dict[Where, Mark] = {(): _mark(path, lines, 0, 0)}

    def plain(node: Any, where: Where) -> Any:
        match node:
            case CommentedMap():
                for key in node:
                    marks[(*where, key)] = _mark(path, lines, *node.lc.key(key))
                return {key: plain(value, (*where, key)) for key, value in node.items()}
            case CommentedSeq():
                for i in range(len(node)):
                    marks[(*where, i)] = _mark(path, lines, *node.lc.item(i))
                return [plain(value, (*where, i)) for i, value in enumerate(node)]
        return scalar(node)

    return Source(plain(data, ()), marks)


def parse_value(text: str) -> Any:
    """The value of ``--set path=value``, read as YAML."""

    def plain(node: Any) -> Any:
        match node:
            case CommentedMap():
                return {key: plain(value) for key, value in node.items()}
            case CommentedSeq():
                return [plain(value) for value in node]
        return scalar(node)

    try:
        return plain(YAML(typ="rt").load(text))
    except YAMLError as error:
        raise InputError([f"--set {text}: not valid YAML: {error}"]) from None


def scalar(value: Any) -> Any:
    """A round-trip scalar as the plain Python value it stands for."""
    match value:
        case ScalarBoolean():
            return bool(value)
        case ScalarInt():
            return int(value)
        case ScalarFloat():
            return float(value)
        case str():
            return str(value)
    return value


def _mark(path: Path, lines: list[str], line: int, column: int) -> Mark:
    return Mark(str(path), line + 1, column + 1, lines[line] if line < len(lines) else "")
