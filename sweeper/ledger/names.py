"""Short names for searched parameters, and short words for what they and the scores are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

SIDES = {"generator": "g", "discriminator": "d"}
"""The players, as papers write them: ``lr_g`` and ``lr_d``."""

COMMON = {"normalization": "norm", "activation": "act", "architecture": "arch"}
"""Last parts that have a shorter name in the field."""

RATIO = ".ratio"

VAGUE = frozenset({"size", "weight", "every", "name", "value"})
"""Last parts that say nothing without their owner: ``batch.size``, ``r1_penalty.every``."""


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The shortest spelling of each dotted name that no other of them has.

    ``generator.optimizer.adam.lr`` becomes ``lr_g``, or ``adam.lr_g`` beside another optimizer's;
    ``schedule.alternating_update.d_steps`` becomes ``d_steps``.
    """
    spellings = {name: _spellings(name) for name in names}
    level = dict.fromkeys(spellings, 0)
    while True:
        chosen = {name: spellings[name][n] for name, n in level.items()}
        taken = Counter(chosen.values())
        clashes = [name for name, short in chosen.items() if taken[short] > 1]
        if not clashes:
            return chosen
        # The last spelling is the name itself, so two names can never stay equal.
        for name in clashes:
            level[name] = min(level[name] + 1, len(spellings[name]) - 1)


def _spellings(name: str) -> list[str]:
    """Spellings of a dotted name, shortest first; the last is the name itself."""
    # A searched ratio stands behind the player's mark, as its value does in papers: lr_d.ratio.
    path, ratio = (name[: -len(RATIO)], RATIO) if name.endswith(RATIO) else (name, "")
    first, *rest = path.split(".")
    side = SIDES.get(first) if rest else None
    parts, suffix = (rest, f"_{side}{ratio}") if side else ([first, *rest], ratio)
    leaf = COMMON.get(parts[-1], parts[-1])
    spellings = [
        ".".join([*parts[-n:-1], leaf]) + suffix
        for n in range(1, len(parts) + 1)
        if n > 1 or leaf not in VAGUE
    ]
    return [*spellings, name]


def format_value(value: object) -> str:
    """A parameter's value in a few characters: ``1.2e-03``, ``0.5``, ``hinge``; a dash where it has
    none."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return _format_float(value)
    return str(value)


def format_score(value: float | None) -> str:
    """A score to three digits, which is what an evaluation of this size can tell apart: ``4.21``,
    ``42.1``, ``1,350``."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.{min(max(2 - math.floor(math.log10(abs(value))), 0), 6)}f}"


def _format_float(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.1e}"


def lined(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in lines, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
