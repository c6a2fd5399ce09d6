"""All trials of a sweep as lines through their parameters to their scores.

Drawn by hand, since a thousand lines are few bytes this way: upright axes side by side for the desk
and paper, axes below each other for the hand.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.ledger.ledger import BROKEN
from sweeper.ledger.ranges import logarithmic, number
from sweeper.report import text
from sweeper.report.figures import round_ticks, spread, thinned
from sweeper.report.ranking import Row, Sweep, baselines, value_of

AXES, LINES, LABELS = 8, 100, 12
"""How many parameters, trials and labels of one axis can be told apart."""
SHADES = 5
"""Steps of the colour that scores have; the page names them."""
NOTHING = 0.07
"""The part of an axis that is kept for trials to which it does not apply."""
LOW = 1e-30

Numbered = Callable[[Row], float | None]


@dataclass(frozen=True)
class Scale:
    """An axis: its title, where trials stand on it, from 0 to 1, and what is written beside it."""

    title: str
    at: Numbered
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Page:
    """Where axes and places on them lie, in pixels."""

    width: int
    height: int
    upright: bool
    of: int

    def point(self, axis: int, place: float) -> tuple[float, float]:
        along = axis / max(self.of - 1, 1)
        if self.upright:
            return round(62 + (self.width - 124) * along, 1), round(
                self.height - 14 - (self.height - 66) * place, 1
            )
        return round(22 + (self.width - 44) * place, 1), round(26 + (self.height - 46) * along, 1)


def drawing(sweep: Sweep, names: Mapping[str, str], *, upright: bool) -> str | None:
    """The figure as SVG; None where there is nothing to compare.

    ``upright`` axes stand side by side on 1,000 pixels; others lie below each other on 380.
    """
    trials = _drawn(sweep)
    specs = chosen(sweep)
    if len(trials) < 2 or not specs:
        return None
    scales = [_scale(spec, names[spec["name"]], sweep.ranking) for spec in specs]
    scales.append(_scores(sweep, text.line(sweep.plan.get("metric", "score"), 30)))
    page = Page(1000, 400, True, len(scales))
    if not upright:
        page = Page(380, 46 + 62 * len(scales), False, len(scales))
    title = f"{len(trials)} trials through {len(specs)} parameters to their scores"
    looks = _looks(sweep)
    parts = [
        f'<svg class="chart parallel" viewBox="0 0 {page.width} {page.height}" role="img" '
        f'aria-label="{title}"><title>{title}</title>',
        *(_line(page, scales, trial, looks[trial["trial"]]) for trial in trials),
        *(mark for n, scale in enumerate(scales) for mark in _axis(page, n, scale)),
        "</svg>",
    ]
    return "\n".join(parts)


def chosen(sweep: Sweep) -> list[Row]:
    """The parameters that are drawn, in the order of the space: those in which trials differ and,
    of more than fit, those by which the scores are told apart best."""
    scored = [t for t in sweep.ranking if t["state"] not in BROKEN]
    differ = [
        spec
        for spec in sweep.parameters
        if len({text.value(value_of(trial, spec["name"]), 200) for trial in scored}) > 1
    ]
    if len(differ) <= AXES:
        return differ
    strongest = sorted(differ, key=lambda spec: -_told_apart(spec, scored))[:AXES]
    return [spec for spec in differ if spec in strongest]


def _told_apart(spec: Row, trials: Sequence[Row]) -> float:
    """The share of the variance of log scores between the values of a parameter, a range cut in
    four, less what chance would make of so many."""
    logs = [_log(trial["score"]) for trial in trials]
    values = [value_of(trial, spec["name"]) for trial in trials]
    if spec["kind"] != "choice":
        known = sorted(v for value in values if (v := number(value)) is not None)
        values = [
            sum(v >= known[len(known) * k // 4] for k in (1, 2, 3))
            if (v := number(value)) is not None
            else None
            for value in values
        ]
    groups: dict[Any, list[float]] = {}
    for value, log in zip(values, logs, strict=True):
        groups.setdefault(value, []).append(log)
    mean = math.fsum(logs) / len(logs)
    total = math.fsum((log - mean) ** 2 for log in logs)
    within = math.fsum(
        (log - math.fsum(group) / len(group)) ** 2 for group in groups.values() for log in group
    )
    free = len(logs) - len(groups)
    return 1 - within / free / (total / (len(logs) - 1)) if total and free else -math.inf


def _drawn(sweep: Sweep) -> list[Row]:
    """The trials that are drawn, the best and the baselines last, so that they lie on top."""
    shown = thinned(sweep.ranking, LINES)
    numbers = {trial["trial"] for trial in shown}
    shown += [
        b for b in baselines(sweep.trials) if b["score"] is not None and b["trial"] not in numbers
    ]
    shown.reverse()
    return sorted(shown, key=lambda t: (t["baseline"] is not None, t is sweep.best))


def _looks(sweep: Sweep) -> dict[int, str]:
    """The class of each trial's line: its state, or the shade of its score."""
    whole = [t for t in sweep.ranking if t["state"] not in BROKEN and t["state"] != "stopped"]
    shade = {t["trial"]: f"s{SHADES * n // len(whole)}" for n, t in enumerate(whole)}
    looks = {}
    for trial in [*sweep.ranking, *baselines(sweep.trials)]:
        look = shade.get(trial["trial"], "cut" if trial["state"] == "stopped" else "bad")
        if trial["baseline"] is not None:
            look = "base"
        looks[trial["trial"]] = "first" if trial is sweep.best else look
    return looks


def _line(page: Page, scales: Sequence[Scale], trial: Row, look: str) -> str:
    points = [(n, at) for n, scale in enumerate(scales) if (at := scale.at(trial)) is not None]
    path = "L".join(f"{x:g} {y:g}" for x, y in (page.point(n, at) for n, at in points))
    said = text.line(trial["name"] if trial["baseline"] is None else trial["baseline"], 60)
    name = html.escape(f"{said}: {text.score(trial['score'])}, {trial['state']}")
    return f'<path class="{look}" d="M{path}"><title>{name}</title></path>'


def _axis(page: Page, n: int, scale: Scale) -> Iterator[str]:
    """A line, its title, and its labels."""
    (x0, y0), (x1, y1) = page.point(n, 0), page.point(n, 1)
    yield f'<path class="axis" d="M{x0:g} {y0:g}L{x1:g} {y1:g}"/>'
    title = html.escape(text.line(scale.title, 17 if page.upright else 50))
    if page.upright:
        lift = 28 if n % 2 else 12  # neighbours at two heights, so that long names do not meet
        centred = f'class="title" text-anchor="middle" x="{x1:g}" y="{y1 - lift:g}"'
        yield f"<text {centred}>{title}</text>"
    else:
        yield f'<text class="title" x="8" y="{y0 - 12:g}">{title}</text>'
    for at, label in scale.ticks:
        x, y = page.point(n, at)
        shown = html.escape(text.line(label, 14 if page.upright else 9))
        if page.upright:
            yield f'<path class="axis" d="M{x - 3:g} {y:g}h6"/>'
            yield f'<text x="{x + 6:g}" y="{y + 4:g}">{shown}</text>'
        else:
            yield f'<path class="axis" d="M{x:g} {y - 3:g}v6"/>'
            yield f'<text text-anchor="middle" x="{x:g}" y="{y + 15:g}">{shown}</text>'


def _scores(sweep: Sweep, title: str) -> Scale:
    scores = [trial["score"] for trial in sweep.ranking]
    log = min(scores) > 0
    return _range(title, lambda trial: trial["score"], scores, log=log, gaps=False)


def _scale(spec: Row, title: str, trials: Sequence[Row]) -> Scale:
    """The axis of a parameter: a range where all its values are numbers, else its options."""
    name = spec["name"]
    values = [v for trial in trials if (v := value_of(trial, name)) is not None]
    gaps = len(values) < len(trials)
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if spec["kind"] != "choice" and len(numbers) == len(values):
        log = logarithmic(spec) and min(numbers, default=0.0) > 0
        whole = spec["kind"] == "int"
        return _range(title, lambda t: value_of(t, name), numbers, log=log, gaps=gaps, whole=whole)
    return _options(title, name, values, gaps=gaps)


def _range(
    title: str,
    of: Numbered,
    values: Sequence[float],
    *,
    log: bool,
    gaps: bool,
    whole: bool = False,
) -> Scale:
    low, high = min(values), max(values)
    base = NOTHING if gaps else 0.0

    def place(value: float) -> float:
        if high <= low:
            return (1 + base) / 2
        if log:
            share = (_log(value) - _log(low)) / ((_log(high) - _log(low)) or 1.0)
        else:
            share = value / (high - low) - low / (high - low)
        return base + (1 - base) * min(max(share, 0.0), 1.0)

    def at(trial: Row) -> float | None:
        value = of(trial)
        return place(value) if value is not None else 0.0 if gaps else None

    ticks = round_ticks(low, high, log=log, whole=whole) if high > low else [low]
    said = [(place(tick), text.value(float(tick))) for tick in ticks]
    return Scale(title, at, [*([(0.0, text.NONE)] if gaps else []), *said])


def _log(value: float) -> float:
    return math.log(max(value, LOW))


def _options(title: str, name: str, values: Sequence[Any], *, gaps: bool) -> Scale:
    """Options at even distances, trials spread a little within."""
    found = sorted({text.value(value, 200) for value in values})
    base = NOTHING if gaps else 0.0
    step = (1 - base) / max(len(found), 1)
    middle = {option: base + step * (n + 0.5) for n, option in enumerate(found)}

    def at(trial: Row) -> float | None:
        value = value_of(trial, name)
        if value is None:
            return 0.0
        return middle[text.value(value, 200)] + 0.5 * step * spread(trial)

    every = math.ceil(len(found) / LABELS)
    said = [(middle[option], option) for option in found[::every]]
    return Scale(title, at, [*([(0.0, text.NONE)] if gaps else []), *said])
