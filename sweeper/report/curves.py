"""The score of each trial as its training went on, by whatever its budget is counted in.

Drawn by hand, as one drawing is made for each way of counting and each width of the page.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeper.ledger.ledger import BROKEN
from sweeper.report import text
from sweeper.report.axes import Axis, name, rungs
from sweeper.report.figures import drawn, round_ticks
from sweeper.report.ranking import Row, Sweep

LEFT, TOP, BOTTOM = 62, 26, 44
LINE = 15
"""Pixels from one line of text to the next."""
LEAST, MOST = 1e-30, 1e30
"""One absurd score must not be able to break the page: what is beyond all reason is cut off."""
MARKS = {
    "stopped": '<circle class="{0} ring" cx="{1:g}" cy="{2:g}" r="2.6"/>',
    "diagnosed": '<path class="{0}" d="M{1:g} {2:g}m-4 0h8m-4 -4v8"/>',
    "diverged": '<path class="{0}" d="M{1:g} {2:g}m-3 -3l6 6m0 -6l-6 6"/>',
    "failed": '<path class="{0}" d="M{1:g} {2:g}m-3 -3l6 6m0 -6l-6 6"/>',
}
"""What stands at the end of a trial that was cut short."""


@dataclass(frozen=True)
class Frame:
    """Where scores and places on the axis of the budget lie, in pixels."""

    width: int
    height: int
    right: int
    end: float
    low: float
    high: float
    log: bool

    def x(self, place: float) -> float:
        return round(LEFT + (self.width - LEFT - self.right) * place / self.end, 1)

    def y(self, score: float) -> float:
        share = (self._scaled(score) - self._scaled(self.low)) / (
            self._scaled(self.high) - self._scaled(self.low)
        )
        tall = self.height - TOP - BOTTOM
        return round(TOP + tall * (1 - min(max(share, -0.05), 1.05)), 1)

    def _scaled(self, score: float) -> float:
        return math.log(min(max(score, LEAST), MOST)) if self.log else score


@dataclass(frozen=True)
class Line:
    """A trial that is drawn: how it looks, and what is said beside its end, if anything. That of
    the first rank is marked at its best."""

    sweep: Sweep
    trial: Row
    look: str
    said: str = ""
    first: bool = False


def drawing(sweep: Sweep, axis: Axis, *, wide: bool) -> str | None:
    """The trials of a sweep as SVG, on 960 or 380 pixels; None when nothing was measured yet."""
    planned = sweep.horizon / 1000 if axis.key == sweep.plan.get("axis", "kimg") == "kimg" else 0.0
    lines = [_line(sweep, trial) for trial in drawn(sweep)]
    return draw(lines, axis, planned, rungs(sweep, axis), wide=wide) if lines else None


def draw(
    lines: Sequence[Line],
    axis: Axis,
    planned: float,
    judged: Sequence[tuple[int, float]] = (),
    *,
    wide: bool,
) -> str:
    """Trials as SVG, the last on top; the axis goes on to where it is ``planned``, if that is
    beyond what was measured. ``judged`` are rungs, with their numbers."""
    frame = _frame(lines, axis, planned, wide=wide)
    metric = text.line(lines[0].sweep.plan.get("metric", "score"), 30)
    title = f"The score of {len(lines)} trials by {axis.name}"
    parts = [
        f'<svg class="chart curves" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{title}"><title>{title}</title>',
        *_rungs(frame, judged[:4]),
        *_grid(frame, axis, metric, wide=wide),
        *(part for line in lines for part in _curve(frame, axis, line)),
        *_names(frame, [line for line in lines if line.said], wide=wide),
        "</svg>",
    ]
    return "\n".join(parts)


def _line(sweep: Sweep, trial: Row) -> Line:
    """How a trial is drawn in its own sweep: stopped ones recede, the best stands out, a baseline
    is dashed."""
    based = trial["baseline"] is not None
    if trial is sweep.best:
        said = name(trial) if based else f"{name(trial)}, best"
        return Line(sweep, trial, "first thick dashed" if based else "first thick", said, True)
    if based:
        return Line(sweep, trial, "base dashed", name(trial))
    if trial["state"] in BROKEN:
        return Line(sweep, trial, "bad")
    return Line(sweep, trial, "cut" if trial["state"] == "stopped" else "whole")


def _frame(lines: Sequence[Line], axis: Axis, planned: float, *, wide: bool) -> Frame:
    sweeps = {id(line.sweep): line.sweep for line in lines}.values()
    ends = (axis.at(m) for sweep in sweeps for m in sweep.measurements)
    scores = [m["score"] for line in lines for m in line.sweep.measured(line.trial)]
    low, high, log = min(scores), max(scores), min(scores) > 0
    if log:
        low, high = (min(max(score, LEAST), MOST) for score in (low, high))
        room = max(high / low, 1.2) ** 0.06
        low, high = low / room, high * room
    else:
        room = 0.06 * (high - low) or 1.0
        low, high = low - room, high + room
    width, height, right = (960, 460, 160) if wide else (380, 360, 96)
    return Frame(width, height, right, max([planned, *ends]) or 1.0, low, high, log)


def _rungs(frame: Frame, judged: Sequence[tuple[int, float]]) -> Iterator[str]:
    """A line where trials were judged, counted at the top."""
    for n, place in judged:
        yield f'<path class="rule" d="M{frame.x(place):g} {frame.height - BOTTOM}V{TOP}"/>'
        yield _text(f"rung {n}", frame.x(place), TOP - 8, "middle", "dim")


def _grid(frame: Frame, axis: Axis, metric: str, *, wide: bool) -> Iterator[str]:
    """The axes with their numbers and names."""
    floor, edge = frame.height - BOTTOM, frame.width - frame.right
    for tick in round_ticks(frame.low, frame.high, log=frame.log, whole=False):
        yield f'<path class="rule" d="M{LEFT} {frame.y(tick):g}H{edge}"/>'
        yield _text(text.value(tick), LEFT - 8, frame.y(tick) + 4, "end", "dim")
    for tick in round_ticks(0, frame.end, log=False, whole=False)[:: 1 if wide else 2]:
        yield f'<path class="axis" d="M{frame.x(tick):g} {floor}v4"/>'
        yield _text(text.value(tick), frame.x(tick), floor + 18, "middle", "dim")
    yield f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{edge}"/>'
    yield _text(f"{axis.unit} trained", (LEFT + edge) / 2, frame.height - 6, "middle", "dim")
    yield f'<g transform="translate(12 {(TOP + floor) / 2:g}) rotate(-90)">'
    yield _text(metric, 0, 0, "middle", "dim")
    yield "</g>"


def _curve(frame: Frame, axis: Axis, line: Line) -> Iterator[str]:
    """One trial, with a mark at its end where it was cut short."""
    trial, measured = line.trial, line.sweep.measured(line.trial)
    points = [(frame.x(axis.at(m)), frame.y(m["score"])) for m in measured]
    path = "L".join(f"{x:g} {y:g}" for x, y in points)
    said = html.escape(f"{name(trial)}: {text.score(trial['score'])}, {trial['state']}")
    yield f'<path class="{line.look}" d="M{path}"><title>{said}</title></path>'
    if mark := MARKS.get(trial["state"]):
        yield mark.format(line.look, *points[-1])
    if line.first:
        x, y = max(points, key=lambda point: point[1])
        yield f'<circle class="{line.look} ring" cx="{x:g}" cy="{y:g}" r="4"/>'


def _names(frame: Frame, lines: Sequence[Line], *, wide: bool) -> Iterator[str]:
    """Names and scores beside the ends of curves, moved apart where they would meet, and up as far
    as the last of them would leave the drawing."""
    ends = sorted(
        (frame.y(line.sweep.measured(line.trial)[-1]["score"]), n) for n, line in enumerate(lines)
    )
    shown, below = [], 0.0
    for at, n in ends:
        said = textwrap.wrap(lines[n].said, 20 if wide else 12, max_lines=2, placeholder="…")
        said.append(text.score(lines[n].trial["score"]))
        top = max(at - LINE * (len(said) - 1) / 2, below)
        below = top + LINE * len(said)
        shown.append((top, said, lines[n].look.split()[0]))
    up = max(0.0, below - frame.height)
    for top, said, look in shown:
        for n, words in enumerate(said):
            place = frame.width - frame.right + 8, top - up + 4 + LINE * n
            yield _text(words, *place, "start", f"said {look}")


def _text(said: str, x: float, y: float, anchor: str, look: str) -> str:
    at = f'class="{look}" text-anchor="{anchor}" x="{x:g}" y="{y:g}"'
    return f"<text {at}>{html.escape(said)}</text>"
