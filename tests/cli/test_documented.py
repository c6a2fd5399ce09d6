"""docs/commands.md is whole: every command with its options, and every exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from sweeper.cli import app
from sweeper.cli.telling import EXPECTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text("utf-8")
ROW = re.compile(r"^\| `sweeper ([^`]+)` \| (.+?) \| (.*?) ?\|$", re.MULTILINE)


def every(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def usage(name: str, command: Any) -> str:
    """A command with what it is given."""
    given = [p for p in command.params if p.param_type_name == "argument"]
    words = [(p.metavar or p.name).upper() + (" …" if p.nargs == -1 else "") for p in given]
    return " ".join(
        [name, *(w if p.required else f"[{w}]" for w, p in zip(words, given, strict=True))]
    )


def options(command: Any) -> str:
    given = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    return ", ".join(f"`{max(p.opts, key=len)}`" for p in given)


def codes(text: str) -> dict[str, str]:
    found = re.search(r"^\| exit code \| \|\n\|---\|---\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    assert found
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", found[1], re.MULTILINE))


def test_every_command_is_there_with_what_it_does_and_its_options() -> None:
    wanted = [
        (usage(name, command), (command.help or "").replace("\n", " "), options(command))
        for name, command in every(get_command(app))
    ]
    assert sorted(ROW.findall(PAGE)) == sorted(wanted)


def test_every_exit_code_is_there_as_in_the_readme() -> None:
    listed = codes(PAGE)
    assert listed == codes((ROOT / "README.md").read_text("utf-8"))
    known = {int(code) for key in listed for code in key.split(", ")}
    assert known == {0, 1, 3, 130, 143, *EXPECTED.values()}
