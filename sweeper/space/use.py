"""Techniques of the user's own: a Python file that registers them, known by what is in it.

What runs is the source that was read and hashed, in this process and in every worker, and never
the file as it may be by then.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sweeper.catalog import families
from sweeper.registry import Registry
from sweeper.space.brought import note, put_here
from sweeper.space.source import InputError

FOLDER = "use"
"""Where a results folder keeps the files that its trials were made with."""


@dataclass(frozen=True)
class Used:
    """A file of techniques: what it is called, and what is in it."""

    name: str
    source: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def module(self) -> str:
        """What it is imported as."""
        return f"sweeper_use_{self.sha256[:16]}"

    @property
    def stored(self) -> str:
        """Its path in a results folder."""
        return f"{FOLDER}/{self.sha256[:12]}-{Path(self.name).stem}.py"

    def plain(self) -> dict[str, str]:
        """What ``sweep.json`` says of it."""
        return {"name": self.name, "sha256": self.sha256, "file": self.stored}

    def load(self) -> None:
        """Run it, so that its techniques are among the others; once in a process.

        Raises InputError, and leaves nothing behind, if that fails.
        """
        if self.module in sys.modules:
            return
        module = ModuleType(self.module)
        module.__file__ = self.name
        # For tracebacks and inspect, which else would read the file of that name.
        lines = self.source.splitlines(keepends=True)
        linecache.cache[self.name] = (len(self.source), None, lines, self.name)
        sys.modules[self.module] = module
        before = {registry.family: set(registry) for registry in registries()}
        try:
            exec(compile(self.source, self.name, "exec"), vars(module))
        except (Exception, SystemExit) as error:
            del sys.modules[self.module]
            for registry in registries():
                for name in set(registry) - before[registry.family]:
                    registry.remove(name)
            raise InputError([self._told(error)]) from None

    def _told(self, error: BaseException) -> str:
        """What went wrong, and in which line of the file."""
        if isinstance(error, SyntaxError) and error.filename == self.name:
            return f"{self.name}:{error.lineno}: this is not valid Python: {error.msg}"
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == self.name), 1)
        law = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        return f"{self.name}:{line}: {law}"


def registries() -> list[Registry[Any]]:
    """Every family of techniques."""
    return [r for r in vars(families).values() if isinstance(r, Registry)]


def read(path: Path) -> Used:
    """A file of techniques, not yet run. Raises InputError."""
    try:
        return Used(str(path), path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError([f"--use is a Python file, but {path}: {reason}"]) from None


def bring(paths: Iterable[Path]) -> tuple[Used, ...]:
    """Read and run files of techniques, each content once. Raises InputError."""
    found = {used.sha256: used for used in map(read, paths)}
    for used in found.values():
        used.load()
    return tuple(found.values())


def keep(files: Sequence[Used], folder: Path) -> None:
    """Write what is used into a results folder, and note that it was put there on this machine."""
    for used in files:
        path = folder / used.stored
        path.parent.mkdir(parents=True, exist_ok=True)
        if not put_here(path):
            path.write_text(used.source, encoding="utf-8")
    if files:
        note(folder / FOLDER, [Path(used.stored).name for used in files])


def kept(
    folder: Path, plain: Sequence[Mapping[str, str]], named: Sequence[Path] = ()
) -> tuple[Used, ...]:
    """What a results folder was made with, as ``sweep.json`` lists it, run.

    Nobody's code runs because a folder holds it: each file was put there by a sweep on this
    machine, or is among those that the user has ``named``. Raises InputError if one was not, or was
    changed since.
    """
    files = tuple(Used(p["name"], read(folder / p["file"]).source) for p in plain)
    trusted = {read(path).sha256 for path in named}
    for used, p in zip(files, plain, strict=True):
        path = folder / used.stored
        if used.sha256 != p["sha256"] or p["file"] != used.stored:
            law = "what a sweep began with stays as it is, but this file was changed"
            raise InputError([f"{folder / p['file']}: {law}"])
        if used.sha256 not in trusted and not put_here(path):
            typed = shlex.quote(os.path.relpath(path))
            law = f"its trials run the code in {typed}, which was brought from elsewhere"
            raise InputError([f"{folder}: {law}: if you trust it, add --use {typed}"])
    for used in files:
        used.load()
    return files
