"""The report of a sweep: one HTML file that opens anywhere, offline and without a script."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.links import check_links
from sweeper.report import figures, text
from sweeper.report.ranking import (
    Row,
    Sweep,
    answer,
    load,
    ranking,
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
DIAGNOSED = 50
LEVELS = ("fail", "warn", "healthy")
PARAMETERS = 24
SHEET_PIXELS = 1024


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a results folder, whole or not at all, and return its path.

    Raises FileNotFoundError when the folder holds no sweep, ValueError when its scores were
    measured under more than one protocol, and LedgerError when it leads out of itself.
    """
    check_links(folder)
    path = folder / "report.html"
    draft = folder / f".report.{os.getpid()}.tmp"
    try:
        draft.write_bytes(render(load(folder)).encode("utf-8", "replace"))
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def render(sweep: Sweep) -> str:
    """The page as a string; the same sweep gives the same one."""
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
    return environment.get_template("page.html.j2").render(**_context(sweep))


def _context(sweep: Sweep) -> dict[str, Any]:
    names = short_names([spec["name"] for spec in sweep.parameters])
    found = answer(sweep)
    compared = [*found.top, *([found.baseline] if found.baseline else [])]
    broken = [t for t in sweep.trials if t["state"] in BROKEN]
    diagnosed = _diagnosed(sweep)
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
        "budget": _both(figures.budget(sweep), figures.budget(sweep, 380, 360)),
        "sheets": [s for trial in compared if (s := _sheet(sweep, trial, trial["best_images"]))],
        "growth": _growth(sweep, found.best),
        "parameters": _parameters(sweep, names),
        "left_out": max(0, len(sweep.parameters) - PARAMETERS),
        "cost": _both(figures.cost(sweep), figures.cost(sweep, 380)),
        "costs": _costs(sweep),
        "failures": broken[:FAILURES],
        "more_failures": max(0, len(broken) - FAILURES),
        "diagnosed": diagnosed[:DIAGNOSED],
        "more_diagnosed": max(0, len(diagnosed) - DIAGNOSED),
        "protocol": list(_flat(sweep.plan.get("protocol", {}))),
        "setting": _setting(sweep),
        "drawn": len(figures.drawn(sweep)),
    }


def _both(wide: str | None, narrow: str | None) -> tuple[Markup, Markup] | None:
    """A figure for the desk and paper, and the same for the hand. They are our own SVG, so safe."""
    return (Markup(wide), Markup(narrow)) if wide and narrow else None


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
    order = ranking(sweep.trials)
    rest = [trial for trial in sweep.trials if trial["score"] is None]
    return [
        {"rank": rank, "trial": trial, "values": [value_of(trial, name) for name in names]}
        for rank, trial in [*enumerate(order, 1), *((None, trial) for trial in rest)]
    ]


def _growth(sweep: Sweep, trial: Row | None) -> list[Row]:
    """The best trial's samples at each rung and at its best, by budget."""
    if trial is None:
        return []
    stops = sorted({*sweep.plan.get("rungs", []), trial["best_images"]})
    sheets = [_sheet(sweep, trial, images) for images in stops if images <= trial["best_images"]]
    return [sheet for sheet in sheets if sheet]


def _sheet(sweep: Sweep, trial: Row, images: int | None) -> Row | None:
    """A sample sheet with its caption; None when there is none that can be read."""
    if images is None:
        return None
    folder = sweep.folder / "trials" / f"{trial['trial']:05d}" / "samples"
    picture = _picture(folder / f"{images:012d}.png")
    if picture is None:
        return None
    score = next((m["score"] for m in sweep.measured(trial) if m["images"] == images), None)
    name = trial["name"] if trial["baseline"] is None else text.line(trial["baseline"], 40)
    source, width, height = picture
    return {
        "source": source,
        "width": width,
        "height": height,
        "name": name,
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
    scored = ranking(sweep.trials)
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
    """What each outcome cost: trials, images and worker seconds."""
    return [
        {
            "state": state,
            "trials": len(rows),
            "images": sum(trial["images"] for trial in rows),
            "seconds": sum(trial["seconds"] or 0.0 for trial in rows),
        }
        for state in MARKS
        if (rows := [trial for trial in sweep.trials if trial["state"] == state])
    ]


def _diagnosed(sweep: Sweep) -> list[Row]:
    """What is said of each trial: warnings of what it is made of and, of each diagnostic, what it
    said last, and when. The best ranked come first; those of which all is well are left out."""
    said: dict[int, dict[tuple[str, str], list[Row]]] = {}
    for verdict in sweep.verdicts:
        of = said.setdefault(verdict["trial"], {})
        of.setdefault((verdict["name"], verdict["level"]), []).append(verdict)
    ranked = ranking(sweep.trials)
    found = []
    for trial in [*ranked, *(t for t in sweep.trials if t["score"] is None)]:
        verdicts = [
            {**rows[-1], "first": rows[0]["images"], "last": rows[-1]["images"], "times": len(rows)}
            for rows in said.get(trial["trial"], {}).values()
        ]
        verdicts.sort(key=lambda v: (LEVELS.index(v["level"]), v["first"]))
        warnings = trial.get("warnings") or []
        if warnings or any(v["level"] != "healthy" for v in verdicts):
            found.append({"trial": trial, "verdicts": verdicts, "warnings": warnings})
    return found


def _setting(sweep: Sweep) -> list[tuple[str, str]]:
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
        "engine": plan.get("engine"),
        "at a time": plan.get("concurrency"),
        "sweeper": plan.get("version"),
    }
    shown = [(k, text.value(v, 200)) for k, v in facts.items() if v is not None]
    return shown + [(k, text.value(v, 200)) for k, v in _flat(plan.get("versions", {}))]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """A nested mapping as dotted paths and their values, in order."""
    for key, of in tree.items():
        if isinstance(of, Mapping):
            yield from _flat(of, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(of) if isinstance(of, list) else of


def _date(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y, %H:%M UTC")
