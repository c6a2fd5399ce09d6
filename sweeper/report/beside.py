"""Several sweeps on one page, as ``sweeper compare`` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sweeper.ledger.links import check_links
from sweeper.report import curves, text
from sweeper.report.axes import Axis, axes, name
from sweeper.report.compare import comparable, heldout_differs, ranked, settings, summary
from sweeper.report.curves import Line
from sweeper.report.figures import thinned
from sweeper.report.page import flat, setting, sheets, template, write
from sweeper.report.ranking import Answer, Row, Sweep, answer, told
from sweeper.report.table import again

COLOURS = 4
"""Colours that sweeps have in turn; the page names them."""
CURVES = 40
"""Curves of each sweep that are drawn."""


def write_comparison(folders: Sequence[Path], n: int) -> Path:
    """Write the page of several sweeps, with the best ``n`` trials of each, into the folder of the
    first, whole or not at all, and return its path.

    Raises NoSweepError when a folder holds no sweep, MixedError when they were measured under
    several protocols, and LedgerError when the first leads out of itself.
    """
    sweeps = comparable(folders)
    check_links(folders[0])
    others = "_".join(sweep.folder.resolve().name for sweep in sweeps[1:])
    return write(folders[0] / f"compare_{others[:80]}.html", render(sweeps, n))


def render(sweeps: Sequence[Sweep], n: int) -> str:
    """The page as a string; the same sweeps give the same one."""
    best = ranked(sweeps, n)
    answers = [answer(sweep) for sweep in sweeps]
    names = [text.line(sweep.folder.resolve().name, 40) for sweep in sweeps]
    rows = list(zip(sweeps, answers, names, strict=True))
    apart = heldout_differs(sweeps)
    return template("beside.html.j2").render(
        title=" beside ".join(names),
        metric=text.line(sweeps[0].plan.get("metric", "score"), 30),
        plan=sweeps[0].plan,
        marks={},
        answer=_sentence(best, dict(zip(map(id, sweeps), names, strict=True))),
        sentences=[summary(sweep) for sweep in sweeps],
        apart=apart,
        sweeps=[_column(*row, n, heldout=not apart) for row in rows],
        rows=[_row(sweep, trial, heldout=not apart) for sweep, trial in best],
        order={id(sweep): number for number, sweep in enumerate(sweeps)},
        budget=_budget(rows),
        sheets=[
            (of, found)
            for sweep, answered, of in rows
            if (found := sheets(sweep, _firsts(answered)))
        ],
        facts=_facts(sweeps),
        protocol=list(flat(sweeps[0].plan.get("protocol", {}))),
    )


def _sentence(best: Sequence[tuple[Sweep, Row]], names: dict[int, str]) -> str:
    """Which sweep has the best trial, and by how much."""
    if not best:
        return "No trial has a score yet."
    (sweep, trial), others = best[0], [found for found in best if found[0] is not best[0][0]]
    said = f"{name(trial)} of {names[id(sweep)]} is best, with {text.score(trial['score'])}"
    if not others:
        return f"{said}."
    other, second = others[0]
    return (
        f"{said}; the best of {names[id(other)]} is {name(second)}, with "
        f"{text.score(second['score'])}."
    )


def _column(sweep: Sweep, found: Answer, of: str, n: int, *, heldout: bool) -> Row:
    """What is told of a sweep."""
    best = found.best
    return {
        "name": of,
        "best": best,
        "heldout": best["heldout"] if best and heldout else None,
        "baseline": found.baseline,
        "trials": len(sweep.trials),
        "counts": found.counts,
        "share": found.share,
        "images": sum(trial["images"] for trial in sweep.trials),
        "seconds": found.seconds,
        "told": told(sweep),
        "command": text.line(sweep.plan.get("command", ""), 10_000),
    }


def _row(sweep: Sweep, trial: Row, *, heldout: bool) -> Row:
    fresh = again(sweep).get(trial["trial"])
    return {
        "sweep": id(sweep),
        "trial": trial,
        "heldout": trial["heldout"] if heldout else None,
        "fresh": fresh,
        "settings": settings(sweep, trial),
    }


def _firsts(found: Answer) -> list[Row]:
    """The best trial of the search and the best baseline."""
    return [*found.top[:1], *([found.baseline] if found.baseline else [])]


def _budget(rows: Sequence[tuple[Sweep, Answer, str]]) -> list[Row]:
    """The curves of all sweeps, on each axis that all can be read on."""
    lines = [line for n, row in enumerate(rows) for line in _lines(n % COLOURS, *row)]
    lines.sort(key=lambda line: bool(line.said))
    known = [{axis.key: axis for axis in axes(sweep)} for sweep, *_ in rows]
    shared = [key for key in known[0] if all(key in of for of in known)]
    if not lines:
        return []
    return [{"axis": known[0][key], "figure": _figure(lines, known, key)} for key in shared]


def _figure(
    lines: Sequence[Line], known: Sequence[dict[str, Axis]], key: str
) -> tuple[Markup, Markup]:
    wide, narrow = (curves.draw(lines, known[0][key], 0.0, wide=wide) for wide in (True, False))
    return Markup(wide), Markup(narrow)


def _lines(colour: int, sweep: Sweep, found: Answer, of: str) -> list[Line]:
    """The trials of a sweep that are drawn: its best and its best baseline are named."""
    named = [trial for trial in (found.best, found.baseline) if trial is not None]
    numbers = {trial["trial"] for trial in named}
    others = [t for t in thinned(sweep.ranking, CURVES) if t["trial"] not in numbers]
    faint = [Line(sweep, t, f"c{colour} faint") for t in reversed(others) if sweep.measured(t)]
    for trial in {trial["trial"]: trial for trial in reversed(named)}.values():
        look = "dashed" if trial["baseline"] is not None else "thick"
        first = trial is found.best
        faint.append(Line(sweep, trial, f"c{colour} {look}", f"{name(trial)}, {of}", first))
    return faint


def _facts(sweeps: Sequence[Sweep]) -> list[tuple[str, list[str]]]:
    """What was run, where the sweeps differ in it."""
    told_of: list[dict[str, Any]] = [dict(setting(sweep)) for sweep in sweeps]
    keys = dict.fromkeys(key for facts in told_of for key in facts)
    rows = [(key, [facts.get(key, text.NONE) for facts in told_of]) for key in keys]
    return [(key, cells) for key, cells in rows if len(set(cells)) > 1]
