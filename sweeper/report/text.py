"""How numbers, times and names are written, in the report and on the terminal alike."""

from __future__ import annotations

import math
from typing import Any

from sweeper.ledger.names import format_score as score

__all__ = ["duration", "kimg", "line", "percent", "score", "value"]

NONE = "–"


def value(of: Any, length: int = 60) -> str:
    """A parameter's value as one would write it in YAML, in one line of at most ``length``."""
    match of:
        case None:
            return NONE
        case bool():
            return "true" if of else "false"
        case float() if math.isfinite(of):
            return _float(of)
    return line(of, length)


def _float(of: float) -> str:
    if 1000 <= abs(of) < 1e9:
        return f"{of:,.0f}"
    digits, mark, exponent = f"{of:.3g}".partition("e")
    return f"{digits}e{int(exponent)}" if mark else digits


def line(of: Any, length: int = 60) -> str:
    """Any text as one printable line of at most ``length`` characters.

    Control characters, lone surrogates and marks that turn the direction of writing become spaces.
    """
    text = str(of)
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * length])
    shown = " ".join(shown.split())
    if len(shown) <= length and len(text) <= 4 * length:
        return shown
    return shown[: length - 1].rstrip() + "…"


def kimg(images: float | None) -> str:
    """Images in thousands: 3.2, 28.8, 25,000."""
    return NONE if images is None else _float(round(images / 1000, 3))


def percent(share: float | None) -> str:
    if share is None:
        return NONE
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def duration(seconds: float | None) -> str:
    """The two largest units that matter: 41 s, 3 min 20 s, 5 h 12 min, 2 d 4 h."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
