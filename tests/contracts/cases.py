"""Every place of a trial, with every technique that can stand there: a new entry is a new case."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.catalog import families
from sweeper.registry import Entry, Registry
from sweeper.verify.contracts import Case, cases

REGISTRIES: list[Registry[Any]] = [r for r in vars(families).values() if isinstance(r, Registry)]
ENTRIES: list[Entry[Any]] = [entry for registry in REGISTRIES for entry in registry.values()]
CASES: list[Case] = cases()

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.family}.{e.name}")
