"""What sweeper imports is what it says that it needs: nothing is there by luck."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ELSE = {"pydantic_core", "botocore"}
"""A part of pydantic that it says to import, and what is used where it is."""


def imported(file: Path) -> Iterator[str]:
    """The packages that a file imports, at its top or later."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_what_is_imported_is_declared() -> None:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in about["dependencies"]}
    providers, missing = packages_distributions(), dict[str, str]()
    for file in sorted((ROOT / "sweeper").rglob("*.py")):
        for name in set(imported(file)) - sys.stdlib_module_names - {"sweeper"} - ELSE:
            if not declared & {canonicalize_name(each) for each in providers.get(name, [])}:
                missing[name] = str(file.relative_to(ROOT))
    assert missing == {}
