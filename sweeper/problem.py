"""What is wrong with something that was written down, and how its values are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Where = tuple[str | int, ...]
"""A path into plain data: keys and indices."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, which law it breaks, and what might have been meant."""

    path: Where
    law: str
    hint: str | None = None

    def __str__(self) -> str:
        where = ".".join(map(str, self.path))
        return f"{where}: {self.law}" if where else self.law


def show(value: object) -> str:
    """A value as one would write it in YAML, on one line, and quoted where it is text."""
    shown = repr(value) if isinstance(value, str) else _flow(value)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"


def _flow(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return re.sub(r"e([-+]?)0+", r"e\1", repr(value)).replace("e+", "e")
        case str():
            return value if re.fullmatch(r"[A-Za-z_][\w./-]*", value) else repr(value)
        case Mapping():
            return "{" + ", ".join(f"{key}: {_flow(child)}" for key, child in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value)
