"""Which files of a results folder a sweep on this machine put there, and nobody touched since."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

NOTE = "brought.json"
"""Where a folder notes what was put into it on this machine."""


def note(folder: Path, names: Iterable[str]) -> None:
    """Note that these files of a folder were put there on this machine."""
    marks = {name: mark(folder / name) for name in names}
    (folder / NOTE).write_text(json.dumps(marks))


def put_here(path: Path) -> bool:
    """Whether a sweep on this machine wrote a file of a results folder, and nobody since."""
    try:
        marks = json.loads((path.parent / NOTE).read_text())
        return bool(marks[path.name] == mark(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def mark(path: Path) -> list[int]:
    """What no copy of a file can have in common with it, and nobody can set: the number that the
    file system gave it, and when it last changed."""
    there = path.lstat()
    return [there.st_ino, there.st_ctime_ns]
