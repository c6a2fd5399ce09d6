"""The search spaces that come with sweeper: what each is for, and a copy of one to work on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sweeper.registry import nearest
from sweeper.space.source import InputError
from sweeper.space.space import shipped

SCHEMA = "schema.json"
FOLDERS = {"": "search spaces", "papers": "as in papers", "base": "presets to be extended"}
"""Where files lie that can be copied, and what they are."""
HEADER = re.compile(r"\A(?:#.*\n)+")
QUESTION = re.compile(r"(?P<said>.*?(?:\?|(?= \()))")


def names() -> list[str]:
    """What can be copied, as it is asked for."""
    return [name for folder in FOLDERS for name in _in(folder)]


def listing() -> Iterator[str]:
    """Every space with its question, in lines."""
    wide = max(map(len, names()))
    for folder, what in FOLDERS.items():
        yield f"{what}:"
        yield from (f"  {name:{wide}}  {question(name)}" for name in _in(folder))
        yield ""
    yield "sweeper new NAME copies one into this folder"


def question(name: str) -> str:
    """What a file is for: the question that its header begins with, or what its preset is of."""
    header = HEADER.match((shipped() / f"{name}.yaml").read_text(encoding="utf-8"))
    assert header is not None, "every file that ships says what it is for"
    lines = [line.removeprefix("# ") for line in header[0].splitlines() if "$schema" not in line]
    found = QUESTION.match(" ".join(lines))
    assert found is not None
    return found["said"]


def copy(name: str, folder: Path) -> Path:
    """Copy a space into a folder, with the schema beside it by which editors check it. Raises
    InputError where there is none of that name, or a file is there already."""
    known = names()
    asked = name.removeprefix("search_spaces/").removesuffix(".yaml")
    if asked not in known:
        hint = nearest(asked, known)
        more = f"; did you mean {hint}?" if hint else ""
        raise InputError([f"there is no search space {name!r}; sweeper new lists them{more}"])
    source, target = shipped() / f"{asked}.yaml", folder / f"{Path(asked).name}.yaml"
    if os.path.lexists(target):
        raise InputError([f"a file is never written over, but {target} is there already"])
    text = source.read_text(encoding="utf-8")
    text = text.replace(f"$schema=../{SCHEMA}", f"$schema={SCHEMA}")
    try:
        target.write_text(_from_here(text, source.parent), encoding="utf-8")
        if not (folder / SCHEMA).exists():
            shutil.copyfile(shipped() / SCHEMA, folder / SCHEMA)
    except OSError as error:
        raise InputError([f"{target}: {error.strerror}"]) from None
    return target


def _in(folder: str) -> list[str]:
    files = sorted((shipped() / folder).glob("*.yaml"))
    return [file.relative_to(shipped()).with_suffix("").as_posix() for file in files]


def _from_here(text: str, beside: Path) -> str:
    """A text whose ``extends`` names a shipped space as it is named from anywhere."""

    def named(match: re.Match[str]) -> str:
        found = beside / match["file"]
        file = found.relative_to(shipped()).as_posix() if found.is_file() else match["file"]
        return f"extends: {file}"

    return re.sub(r"^extends: (?P<file>\S+)", named, text, flags=re.MULTILINE)
