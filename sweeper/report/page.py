"""The report of a sweep: one HTML file that opens anywhere, offline and without a script."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.links import check_links
from sweeper.report import (
    ablation,
    confirmed,
    curves,
    effects,
    figures,
    front,
    health,
    judged,
    parallel,
    published,
    sources,
    spent,
    text,
)
from sweeper.report.axes import axes, name, stops, warning, winners
from sweeper.report.ranking import (
    Answer,
    Row,
    Sweep,
    agreement,
    answer,
    check_sweep,
    load,
    metrics_of,
    sentences,
    short_names,
    value_of,
)

MARKS = {
    "completed": "●",
    "stopped": "○",
    "diverged": "✕",
    "diagnosed": "✚",
    "failed": "▲",
    "running": "▸",
    "pending": "·",
}
FAILURES = 50
METRICS = 24
DIAGNOSED = 50
LEVELS = ("fail", "warn", "healthy")
PARAMETERS = 24
WORST = 3
STRIPS = {
    "nearest": (
        "Nearest training images",
        "Each row is a sample and, right of it, the training images that lie nearest to it in the "
        "features of the evaluation: samples that are copies of them would show here.",
    ),
    "interpolation": (
        "From latent to latent",
        "Each row goes from one latent to another in even steps: a generator that has learnt its "
        "examples by heart jumps between them.",
    ),
}
"""Pictures beside the samples, by the ends of their names in ``pictures/``."""
SHEET_PIXELS = 1024

Progress = Callable[[str, int, int], None]


def unseen(what: str, done: int, total: int) -> None:
    """Show nobody how far the drawing is."""


def write_report(folder: Path, progress: Progress = unseen) -> Path:
    """Write ``report.html`` into a results folder, whole or not at all, and return its path.
    ``progress`` is told what is done, how much of it, and of how much.

    Raises NoSweepError when the folder holds no sweep, ValueError when its scores were
    measured under more than one protocol, and LedgerError when it leads out of itself.
    """
    check_sweep(folder)
    check_links(folder)
    return write(folder / "report.html", render(load(folder), progress))


def write(path: Path, page: str) -> Path:
    """Write a page, whole or not at all, and return its path."""
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(page.encode("utf-8", "replace"))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def render(sweep: Sweep, progress: Progress = unseen) -> str:
    """The page as a string; the same sweep gives the same one."""
    sections, drawn = _sections(sweep), {}
    for done, (section, draw) in enumerate(sections.items()):
        progress("drawing the report", done, len(sections))
        drawn[section] = draw()
    progress("drawing the report", len(sections), len(sections))
    return template("page.html.j2").render(**_told(sweep), **drawn)


@cache
def template(name: str) -> jinja2.Template:
    """A page to be filled; whatever is put into it is only text there."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sweeper", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": text.score,
        "value": text.value,
        "line": text.line,
        "kimg": text.kimg,
        "percent": text.percent,
        "duration": text.duration,
    }
    return environment.get_template(name)


def _told(sweep: Sweep) -> dict[str, Any]:
    """What the plan and the trials say in words."""
    names = short_names([spec["name"] for spec in sweep.parameters])
    found = answer(sweep)
    compared = _compared(found)
    broken = [t for t in sweep.trials if t["state"] in BROKEN]
    diagnosed, best = _diagnosed(sweep), winners(sweep)
    return {
        "plan": sweep.plan,
        "title": text.line(sweep.plan.get("name", sweep.folder.name), 80),
        "metric": text.line(sweep.plan.get("metric", "score"), 30),
        "created": _date(sweep.plan.get("created")),
        "answer": found,
        "sentences": sentences(sweep),
        "live": found.counts["running"] + found.counts["pending"],
        "compared": _side_by_side(compared, found.baseline, names),
        "held": [any(value_of(t, name) is not None for t in compared) for name in names],
        "rows": _rows(sweep, names),
        "names": names,
        "marks": MARKS,
        "winners": best,
        "changed": warning(best),
        "unlined": len(sweep.parameters) - len(parallel.chosen(sweep)),
        "parameters": _parameters(sweep, names),
        "left_out": max(0, len(sweep.parameters) - PARAMETERS),
        "costs": _costs(sweep),
        "failures": broken[:FAILURES],
        "more_failures": max(0, len(broken) - FAILURES),
        "diagnosed": diagnosed[:DIAGNOSED],
        "more_diagnosed": max(0, len(diagnosed) - DIAGNOSED),
        "metrics": metrics_of(compared)[:METRICS],
        "agreement": agreement(sweep.trials),
        "protocol": list(flat(sweep.plan.get("protocol", {}))),
        "setting": setting(sweep),
        "environment": list(flat(sweep.plan.get("environment", {}))),
        "papers": sources.shown(sweep),
        "drawn": len(figures.drawn(sweep)),
    }


def _sections(sweep: Sweep) -> dict[str, Callable[[], Any]]:
    """What takes time on a large sweep: figures, pictures and estimates, each still to be made."""
    names = short_names([spec["name"] for spec in sweep.parameters])
    found = answer(sweep)
    compared = _compared(found)
    return {
        "budget": lambda: _budget(sweep),
        "sheets": lambda: sheets(sweep, compared),
        "growth": lambda: _growth(sweep, found.best),
        "worst": lambda: sheets(sweep, _worst(sweep, compared)),
        "strips": lambda: _strips(sweep, compared),
        "judged": lambda: judged.shown(sweep),
        "parallel": lambda: _both(
            parallel.drawing(sweep, names, upright=True),
            parallel.drawing(sweep, names, upright=False),
        ),
        "cost": lambda: _both(figures.cost(sweep), figures.cost(sweep, 380)),
        "confirmed": lambda: confirmed.shown(sweep),
        "bought": lambda: _bought(sweep),
        "front": lambda: front.shown(sweep),
        "effects": lambda: effects.shown(sweep),
        "ablation": lambda: ablation.shown(sweep),
        "health": lambda: health.of_sweep(sweep),
        "published": lambda: published.tables(sweep),
    }


def _compared(found: Answer) -> list[Row]:
    return [*found.top, *([found.baseline] if found.baseline else [])]


def _both(wide: str | None, narrow: str | None) -> tuple[Markup, Markup] | None:
    """A figure for the desk and paper, and the same for the hand. They are our own SVG, so safe."""
    return (Markup(wide), Markup(narrow)) if wide and narrow else None


def _budget(sweep: Sweep) -> list[Row]:
    """The scores by budget, on each axis that it can be read on."""
    return [
        {"axis": axis, "figure": both}
        for axis in axes(sweep)
        if (both := _both(*(curves.drawing(sweep, axis, wide=wide) for wide in (True, False))))
    ]


def _bought(sweep: Sweep) -> tuple[Markup, Markup] | None:
    """What a budget buys; None with too few trials."""
    band = spent.band(sweep)
    if band is None:
        return None
    return _both(figures.bought(sweep, band), figures.bought(sweep, band, 380))


def _side_by_side(trials: list[Row], baseline: Row | None, names: Mapping[str, str]) -> list[Row]:
    """A column a trial: its parameters in order, and which of them differ from the baseline."""
    return [
        {
            "trial": trial,
            "title": f"Trial {trial['name']}" if trial["baseline"] is None else trial["baseline"],
            "cells": [
                {
                    "value": value_of(trial, name),
                    "differs": baseline is not None
                    and value_of(trial, name) != value_of(baseline, name),
                }
                for name in names
            ],
        }
        for trial in trials
    ]


def _rows(sweep: Sweep, names: Mapping[str, str]) -> list[Row]:
    """The ranking, and after it the trials without a score, by number."""
    order = sweep.ranking
    rest = [t for t in sweep.trials if t["score"] is None and t.get("of") is None]
    return [
        {"rank": rank, "trial": trial, "values": [value_of(trial, name) for name in names]}
        for rank, trial in [*enumerate(order, 1), *((None, trial) for trial in rest)]
    ]


def _growth(sweep: Sweep, trial: Row | None) -> list[Row]:
    """The best trial's samples where it was judged and at its best, by budget."""
    if trial is None:
        return []
    judged_at = [m["images"] for m in stops(sweep, trial)]
    shown = sorted({*judged_at, trial["best_images"]})
    sheets = [_sheet(sweep, trial, images) for images in shown if images <= trial["best_images"]]
    return [sheet for sheet in sheets if sheet]


def _worst(sweep: Sweep, shown: list[Row]) -> list[Row]:
    """The last of the ranking, the worst last, but for those that are shown as its first."""
    numbers = {trial["trial"] for trial in shown}
    return [trial for trial in sweep.ranking if trial["trial"] not in numbers][-WORST:]


def sheets(sweep: Sweep, trials: list[Row]) -> list[Row]:
    """The sheets of trials at their best, as far as there are any."""
    return [s for trial in trials if (s := _sheet(sweep, trial, trial["best_images"]))]


def _strips(sweep: Sweep, trials: list[Row]) -> list[Row]:
    """What there is in ``pictures/`` of these trials, by kind."""
    found = []
    for kind, (title, says) in STRIPS.items():
        pictures = [
            {"name": name(t), "baseline": t["baseline"] is not None}
            | dict(zip(("source", "width", "height"), picture, strict=True))
            for t in trials
            if (picture := _picture(sweep.folder / "pictures" / f"{t['name']}_{kind}.png"))
        ]
        if pictures:
            found.append({"title": title, "says": says, "pictures": pictures})
    return found


def _sheet(sweep: Sweep, trial: Row, images: int | None) -> Row | None:
    """A sample sheet with its caption; None when there is none that can be read."""
    if images is None:
        return None
    folder = sweep.folder / "trials" / f"{trial['trial']:05d}" / "samples"
    picture = _picture(folder / f"{images:012d}.png")
    if picture is None:
        return None
    score = next((m["score"] for m in sweep.measured(trial) if m["images"] == images), None)
    source, width, height = picture
    return {
        "source": source,
        "width": width,
        "height": height,
        "name": name(trial),
        "images": images,
        "score": score,
        "baseline": trial["baseline"] is not None,
    }


def _picture(path: Path) -> tuple[str, int, int] | None:
    """A picture as a data URL, made small; None when the file is missing or was torn."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((SHEET_PIXELS, SHEET_PIXELS))
    buffer = io.BytesIO()
    small = max(picture.size) <= 320
    picture.save(buffer, "WEBP", lossless=small, quality=88, method=4)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/webp;base64,{data}", picture.width, picture.height


def _parameters(sweep: Sweep, names: Mapping[str, str]) -> list[Row]:
    """A figure for each parameter that some trial with a score has."""
    scored = sweep.ranking
    return [
        {
            "name": spec["name"],
            "label": names[spec["name"]],
            "figure": Markup(figures.parameter(sweep, spec, names[spec["name"]])),
        }
        for spec in sweep.parameters[:PARAMETERS]
        if any(value_of(trial, spec["name"]) is not None for trial in scored)
    ]


def _costs(sweep: Sweep) -> list[Row]:
    """What each outcome cost, in trials, images and worker seconds, and what was saved by ending
    trials before their horizon, each at its own pace."""
    return [
        {
            "state": state,
            "trials": len(rows),
            "images": sum(trial["images"] for trial in rows),
            "seconds": sum(trial["seconds"] or 0.0 for trial in rows),
            "saved_images": sum(_left(sweep, trial) for trial in rows),
            "saved_seconds": sum(
                _left(sweep, trial) * (trial["seconds"] or 0.0) / trial["images"]
                for trial in rows
                if trial["images"]
            ),
        }
        for state in MARKS
        if (rows := [trial for trial in sweep.trials if trial["state"] == state])
    ]


def _left(sweep: Sweep, trial: Row) -> int:
    """The images that a trial which was ended early was not trained on."""
    if trial["state"] not in ("stopped", *BROKEN):
        return 0
    own = json.loads(trial["config"] or "{}").get("horizon_kimg")
    left: int = round(1000 * own if own else sweep.horizon) - trial["images"]
    return max(0, left)


def _diagnosed(sweep: Sweep) -> list[Row]:
    """What is said of each trial: warnings of what it is made of and, of each diagnostic, what it
    said last, and when. The best ranked come first; those of which all is well are left out."""
    said: dict[int, dict[tuple[str, str], list[Row]]] = {}
    for verdict in sweep.verdicts:
        of = said.setdefault(verdict["trial"], {})
        of.setdefault((verdict["name"], verdict["level"]), []).append(verdict)
    ranked = {trial["trial"]: trial for trial in sweep.ranking}
    found = []
    for trial in (
        ranked | {t["trial"]: t for t in sweep.trials if t["trial"] not in ranked}
    ).values():
        verdicts = [
            {**rows[-1], "first": rows[0]["images"], "last": rows[-1]["images"], "times": len(rows)}
            for rows in said.get(trial["trial"], {}).values()
        ]
        verdicts.sort(key=lambda v: (LEVELS.index(v["level"]), v["first"]))
        warnings = trial.get("warnings") or []
        if warnings or any(v["level"] != "healthy" for v in verdicts):
            found.append({"trial": trial, "verdicts": verdicts, "warnings": warnings})
    return found


def setting(sweep: Sweep) -> list[tuple[str, str]]:
    """What one needs to know to run the same sweep again, beside the protocol."""
    plan = sweep.plan
    data = plan.get("data", {})
    rungs = ", ".join(text.kimg(images) for images in plan.get("rungs", []))
    facts = {
        "space": plan.get("space"),
        "data": data.get("name"),
        "examples": data.get("examples"),
        "shape": " × ".join(str(n) for n in data.get("shape", [])) or None,
        "data digest": data.get("digest"),
        "search": plan.get("method"),
        "trials": plan.get("trials"),
        "seed": plan.get("seed"),
        "horizon": f"{text.value(float(plan['horizon_kimg']))} kimg",
        "rungs": f"{rungs} kimg, best 1 in {plan.get('factor')} goes on" if rungs else None,
        "judged among": f"those of its {plan['by']}" if plan.get("by") else None,
        "plateau": plan.get("plateau"),
        "engine": plan.get("engine"),
        "at a time": plan.get("concurrency"),
        "sweeper": plan.get("version"),
    }
    return [(k, text.value(v, 200)) for k, v in facts.items() if v is not None]


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """A nested mapping as dotted paths and their values, in order."""
    for key, of in tree.items():
        if isinstance(of, Mapping):
            yield from flat(of, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(of) if isinstance(of, list) else of


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y, %H:%M UTC")
