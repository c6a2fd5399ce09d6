"""The documents, and what can be done with what they say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import sweeper.catalog  # noqa: F401  (fills the registries)
from sweeper.catalog import families
from sweeper.registry import Registry

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    *PAGES,
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def fences(text: str) -> list[tuple[str, str]]:
    """Language and content of every fenced block."""
    return [(m[1], m[2]) for m in FENCE.finditer(text)]


def commands(text: str) -> list[str]:
    """What a reader is told to type, in order."""
    shown = "".join(content for language, content in fences(text) if language == "console")
    return [line.removeprefix("$ ") for line in shown.splitlines() if line.startswith("$ ")]


def marked(text: str, mark: str) -> str:
    """The fenced block below ``<!-- mark -->``."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n+```\w+\n(.*?)^```$", text, re.M | re.S)
    assert found, f"no block is marked {mark}"
    return found[1]


def catalog_table() -> str:
    """The README's table of the catalog, as it is to be."""
    registries: list[Registry[Any]] = [
        r for r in vars(families).values() if isinstance(r, Registry)
    ]
    lines = ["| family | techniques |", "|---|---|"]
    for registry in registries:
        links = []
        for name, entry in registry.items():
            file = inspect.getsourcefile(inspect.unwrap(entry.target))
            assert file is not None
            links.append(f"[`{name}`]({Path(file).relative_to(ROOT)})")
        lines.append(f"| {registry.family} | {', '.join(links)} |")
    return "\n".join(lines)
