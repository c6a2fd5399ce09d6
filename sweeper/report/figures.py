"""The report's figures, each a string of SVG to be set in the page.

Colours are written as CSS variables with a fallback, so that one drawing serves the light page, the
dark page, and a file of its own. They are Okabe and Ito's, or near, which the colour-blind can tell
apart; what matters is also told by line, shape or label.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from sweeper.report import text
from sweeper.report.ranking import (
    STATES,
    Row,
    Sweep,
    baselines,
    compute_share,
    value_of,
)
from sweeper.report.spent import Band

INK, MUTED, RULE, PAPER = "#202124", "#5f6368", "#dadce0", "#fffffe"
BEST, GOOD, BASE = "#d55e00", "#0072b2", "#117755"
GREY, BAD, BROKEN = "#9aa0a6", "#b0447a", "#c79a00"

VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    BEST: "best",
    GOOD: "good",
    BASE: "base",
    GREY: "grey",
    BAD: "bad",
    BROKEN: "broken",
}

STATE_COLOURS = {
    "completed": GOOD,
    "stopped": GREY,
    "diverged": BAD,
    "diagnosed": BAD,
    "failed": BROKEN,
    "running": INK,
    "pending": RULE,
}

CURVES = 80  # more of them is a carpet that says nothing more
POINTS = 500

STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,  # points of 1/72 inch, 12 pixels on the page
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.solid_capstyle": "round",
}


class Margins(NamedTuple):
    """Pixels between the axes and the edges of a figure, where the labels stand."""

    left: int = 68
    right: int = 12
    top: int = 12
    bottom: int = 42


def thinned(order: Sequence[Row], most: int) -> list[Row]:
    """At most ``most`` of a ranking: its best, and the rest at even distances."""
    if len(order) <= most:
        return list(order)
    head = most // 3
    tail = order[head:]
    return [*order[:head], *(tail[i * len(tail) // (most - head)] for i in range(most - head))]


def spread(trial: Row) -> float:
    """By how much a trial is moved from its option, from -0.5 to 0.5, so that all are seen."""
    golden = (math.sqrt(5) - 1) / 2
    return float(trial["trial"] * golden % 1) - 0.5


def drawn(sweep: Sweep) -> list[Row]:
    """The trials whose curves are drawn, the best last, so that it lies on top."""
    chosen = thinned(sweep.ranking, CURVES)
    numbers = {trial["trial"] for trial in chosen}
    chosen += [trial for trial in baselines(sweep.trials) if trial["trial"] not in numbers]
    return [trial for trial in reversed(chosen) if sweep.measured(trial)]


def parameter(sweep: Sweep, spec: Row, label: str, width: int = 330, height: int = 260) -> str:
    """The score of each trial against its value of one searched parameter."""
    name = spec["name"]
    first = sweep.best
    rows = [t for t in sweep.ranking if value_of(t, name) is not None]
    rows = thinned(rows, POINTS)
    places, tilted = _places(spec, [value_of(trial, name) for trial in rows])
    margins = Margins(bottom=78 if tilted else 26)
    with _figure(f"parameter {name}", width, height, margins) as (figure, axes):
        _points(axes, rows, places.at(rows), first)
        places.dress(axes)
        _score_axis(axes, [trial["score"] for trial in rows])
        axes.set_ylabel(text.line(sweep.plan.get("metric", "score"), 30))
        return _svg(figure, f"The score against {text.line(label)}")


def bought(sweep: Sweep, band: Band, width: int = 780, height: int = 300) -> str:
    """The best score of searches by what they have trained on, with a line for each baseline."""
    bases = [t for t in baselines(sweep.trials) if t["score"] is not None]
    margins = Margins(right=150 if width > 500 else 100)
    with _figure(f"bought {width}", width, height, margins) as (figure, axes):
        kimg = band.images / 1000
        axes.fill_between(kimg, band.low, band.high, color=GOOD, alpha=0.2, linewidth=0)
        axes.plot(kimg, band.median, color=GOOD, linewidth=2)
        for base in bases:
            axes.axhline(base["score"], color=BASE, linestyle="--", linewidth=1.4)
        axes.set_xlim(0, kimg[-1])
        axes.xaxis.set_major_locator(MaxNLocator(6 if width > 500 else 4))
        _score_axis(axes, [*band.low, *band.high, *(base["score"] for base in bases)])
        axes.set_xlabel("kimg trained in all trials together")
        axes.set_ylabel(text.line(sweep.plan.get("metric", "score"), 30))
        return _svg(figure, "The best score of a search against its budget")


def cost(sweep: Sweep, width: int = 780) -> str | None:
    """What was trained, by what became of it, against training every begun trial to the end."""
    begun = [trial for trial in sweep.trials if trial["state"] != "pending"]
    full = len(begun) * sweep.horizon / 1000
    if not full:
        return None
    spent = {s: sum(t["images"] for t in begun if t["state"] == s) / 1000 for s in STATES}
    margins = Margins(left=2, right=2, top=22, bottom=44 if width > 500 else 62)
    height = 118 + margins.bottom - 44
    with _figure(f"cost {width}", width, height, margins) as (figure, axes):
        _bars(axes, spent, full)
        total = sum(spent.values())
        said = f"trained: {text.kimg(1000 * total)} kimg, {text.percent(compute_share(sweep))}"
        axes.text(0, 1.5, said, va="bottom", weight="bold")
        everything = f"every trial to the end: {text.kimg(1000 * full)} kimg"
        axes.text(full, 1.5, everything, va="bottom", ha="right", color=MUTED)
        if total:
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(-0.01, 0.02),
                ncols=5 if width > 500 else 3,
                frameon=False,
                handlelength=0.8,
                handleheight=0.8,
                columnspacing=1.4,
            )
        return _svg(figure, f"{said} of training every trial to the end")


def _bars(axes: Axes, spent: dict[str, float], full: float) -> None:
    axes.barh(1, full, height=0.8, color="none", edgecolor=MUTED, linewidth=0.8, linestyle="--")
    left = 0.0
    for state, amount in spent.items():
        if amount:
            axes.barh(
                1,
                amount,
                left=left,
                height=0.8,
                color=STATE_COLOURS[state],
                edgecolor=PAPER,
                linewidth=1,
                label=f"{state} {text.kimg(1000 * amount)}",
            )
        left += amount
    axes.set_xlim(-0.002 * full, 1.002 * full)
    axes.set_ylim(0.5, 1.5)
    axes.set_axis_off()


def _pen(trial: Row, first: bool) -> tuple[str, str, float, float]:
    """Colour, line, width and layer of a trial's curve."""
    if first:
        return BEST, "--" if trial["baseline"] is not None else "-", 2.4, 5
    if trial["baseline"] is not None:
        return BASE, "--", 1.8, 4
    if trial["state"] == "completed":
        return GOOD, "-", 1.0, 3
    return STATE_COLOURS[trial["state"]], "-", 0.8, 2


def _points(axes: Axes, rows: Sequence[Row], places: Sequence[float], first: Row | None) -> None:
    """Full where the trial went to the end, hollow where it was cut short."""
    alike: dict[tuple[str, str, bool], list[tuple[float, float]]] = {}
    for trial, x in zip(rows, places, strict=True):
        mark = "D" if trial["baseline"] is not None else "*" if trial is first else "o"
        look = _pen(trial, trial is first)[0], mark, trial["state"] == "completed"
        alike.setdefault(look, []).append((x, trial["score"]))
    for (colour, mark, full), points in alike.items():
        axes.plot(
            *zip(*points, strict=True),
            mark,
            ms={"*": 11, "D": 6}.get(mark, 5.5 if full else 4.5),
            mec=PAPER if full else colour,
            mfc=colour if full else "none",
            mew=0.5 if full else 0.9,
            zorder=5 if mark != "o" else 3 if full else 2,
            clip_on=False,
        )


class Scale:
    """Where the numbers of a parameter stand on its axis."""

    def __init__(self, values: Sequence[float], log: bool, whole: bool) -> None:
        self.values = values
        self.log = log and all(v > 0 for v in values)
        self.whole = whole

    def at(self, rows: Sequence[Row]) -> Sequence[float]:
        return self.values

    def dress(self, axes: Axes) -> None:
        if self.log:
            _log_axis(axes, "x", self.values)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=self.whole))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: text.value(float(v))))
            axes.margins(x=0.08)


class Bins:
    """Where the choices of a parameter stand on its axis: side by side, trials spread within."""

    def __init__(self, names: Sequence[str], values: Sequence[str], tilted: bool) -> None:
        self.names = list(names)
        self.values = values
        self.tilted = tilted

    def at(self, rows: Sequence[Row]) -> Sequence[float]:
        both = zip(self.values, rows, strict=True)
        return [self.names.index(value) + 0.5 * spread(row) for value, row in both]

    def dress(self, axes: Axes) -> None:
        labels = [text.line(name, 16) for name in self.names]
        lean: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(labels)), labels, **(lean if self.tilted else {}))
        axes.set_xlim(-0.6, len(labels) - 0.4)


def _places(spec: Row, values: Sequence[Any]) -> tuple[Scale | Bins, bool]:
    """The axis for a parameter, and whether its labels need to lean."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if spec["kind"] != "choice" and len(numbers) == len(values):
        return Scale(numbers, bool(spec.get("log")), spec["kind"] == "int"), False
    found = [text.value(v, 200) for v in values]
    planned = [text.value(v, 200) for v in spec.get("choices", [])]
    names = list(dict.fromkeys([*planned, *sorted(found)]))
    tilted = sum(min(16, len(name)) + 2 for name in names) > 36
    return Bins(names, found, tilted), tilted


def _score_axis(axes: Axes, scores: Sequence[float]) -> None:
    if scores and min(scores) > 0:
        _log_axis(axes, "y", scores)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _log_axis(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis whose few ticks are written as plain numbers."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    # One absurd value must not be able to break the page: what is beyond all reason is cut off.
    low, high = (min(max(v, 1e-30), 1e30) for v in (min(values), max(values)))
    room = max(high / low, 1.2) ** 0.06
    low, high = low / room, high * room
    axes.set(**{f"{which}lim": (low, high)})  # first, or the scale would look for limits itself
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(FixedLocator(_ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: text.value(float(v))))


def round_ticks(low: float, high: float, *, log: bool, whole: bool) -> list[float]:
    """A few round numbers from one number to another."""
    if log:
        return _ticks(max(low, 1e-30), min(high, 1e30))
    found = MaxNLocator(4, integer=whole).tick_values(low, high)
    return [float(tick) for tick in found if low <= tick <= high]


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two positive ones: decades if they suffice, else finer."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        ticks = [d * 10.0**e for e in decades for d in digits if low <= d * 10.0**e <= high]
        if len(ticks) >= 3:
            return ticks[:: math.ceil(len(ticks) / most)]
    return [float(t) for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]


@contextmanager
def _figure(salt: str, width: int, height: int, m: Margins) -> Iterator[tuple[Figure, Axes]]:
    """A figure of so many pixels and its axes, in the report's style.

    The salt goes into the ids within the SVG: constant, so that the same input gives the same file,
    and different from figure to figure, since all of them share one page.
    """
    style: Any = STYLE | {"svg.hashsalt": salt}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # The page's own fonts draw what the font measured with here lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(width / 96, height / 96), dpi=96)
        box = (
            m.left / width,
            m.bottom / height,
            (width - m.left - m.right) / width,
            (height - m.top - m.bottom) / height,
        )
        yield figure, figure.add_axes(box)


def _svg(figure: Figure, title: str) -> str:
    """The figure as an SVG element that takes colours and fonts from the page."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', drawing)
    assert view is not None
    name = html.escape(title)
    head = f'<svg viewBox="{view[1]}" role="img" aria-label="{name}"><title>{name}</title>'
    drawing = head + drawing[drawing.index(">") + 1 :]
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = re.sub(r"<style.*?</style>", "", drawing, count=1, flags=re.DOTALL)
    drawing = re.sub(r"'DejaVu Sans'(, sans-serif)?", "var(--sans, sans-serif)", drawing)
    return re.sub(r"#[0-9a-f]{6}\b", _variable, drawing)


def _variable(colour: re.Match[str]) -> str:
    name = VARIABLES.get(colour[0])
    return f"var(--{name}, {colour[0]})" if name else colour[0]
