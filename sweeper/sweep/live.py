"""How a sweep looks while it runs: a table on a terminal, plain lines elsewhere, JSON for programs.

A view is told of every event after it was committed. It reads the ledger and keeps nothing that
cannot be read from there again, so a sweep that was resumed looks as if it had never stopped.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Protocol

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeper.ledger.ledger import BROKEN, Event, Ledger
from sweeper.ledger.names import format_score, format_value
from sweeper.sweep.answer import SCHEMA, answer, answer_json, finite
from sweeper.sweep.board import (
    COLOURS,
    WARNED,
    Board,
    Row,
    duration,
    kimg,
    metric_title,
    noun,
    one_line,
    ranked,
    summary,
)

__all__ = ["JsonLines", "Listener", "LiveTable", "PlainLines", "answer", "answer_json", "view"]

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 10
"""The widest sparkline; it is full when a trial comes to its horizon."""

BEST = 5
"""How many ended trials the table shows."""

WIDEST = 16
GAP = 2
"""Widths of the table: its widest column, and the room between two."""

FURNITURE = 10
"""Lines of the picture that are not trials: header, bar, column titles, footer, and some air."""


class Listener(Protocol):
    """Someone who is told what happened, after it was committed, from any thread."""

    def observe(self, event: Event) -> None: ...

    def close(self) -> None: ...


def view(
    plan: Mapping[str, Any],
    ledger: Ledger,
    *,
    json_lines: bool,
    console: Console | None = None,
    began: float | None = None,
) -> Listener:
    """The view of a sweep that suits where its output goes: a table that redraws itself on a
    terminal, a plain line per event elsewhere, JSON lines when asked for. The sweep ``began``
    now, or at a time that is told."""
    console = console or Console()
    if json_lines:
        return JsonLines(plan, ledger, console.file, PlainLines(plan, ledger, sys.stderr))
    # Asked of the file itself: FORCE_COLOR makes rich take any pipe for a terminal.
    if console.is_interactive and console.file.isatty():
        return LiveTable(plan, ledger, console, began or time.time())
    return PlainLines(plan, ledger, console.file)


# On a terminal.


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """Values as blocks on a logarithmic scale, from the least to the greatest of them."""
    shown = [values[(i + 1) * len(values) // width - 1] for i in range(min(width, len(values)))]
    if len(values) <= width:
        shown = list(values)
    if not shown:
        return ""
    tiny = sys.float_info.min
    logs = [math.log(max(value, tiny)) for value in shown]
    low, span = min(logs), (max(logs) - min(logs)) or 1.0
    return "".join(BLOCKS[round((x - low) / span * (len(BLOCKS) - 1))] for x in logs)


class LiveTable:
    """A table that redraws itself when something happened, and otherwise now and then for its
    clock."""

    FASTEST = 1 / 3
    CLOCK = 2.0
    SHARE = 0.05
    """The part of the time that drawing may take: a long sweep is drawn less often."""

    def __init__(
        self, plan: Mapping[str, Any], ledger: Ledger, console: Console, began: float
    ) -> None:
        self.board, self.console, self._began = Board(plan, ledger), console, began
        self._changed, self._closed = threading.Event(), threading.Event()
        # Rich's own refreshing draws all frames alike, changed or not.
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()
        self._thread = threading.Thread(target=self._redraw, name="live-table", daemon=True)
        self._thread.start()

    def observe(self, event: Event) -> None:
        if self.board.learn(event):
            self._changed.set()

    def close(self) -> None:
        """Draw what stays on the screen. Closing twice is closing once."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._changed.set()
        self._thread.join()
        self._draw()
        self._live.stop()

    def _redraw(self) -> None:
        # One drawing that was slow, as the first is, which imports what the others have, says
        # nothing of the next.
        took = deque([0.0], maxlen=2)
        while not self._closed.is_set():
            self._changed.clear()
            begun = time.thread_time()
            self._draw()
            took.append(time.thread_time() - begun)
            self._closed.wait(max(self.FASTEST, min(took) / self.SHARE))
            self._changed.wait(self.CLOCK - self.FASTEST)

    def _draw(self) -> None:
        width, height = self.console.size
        picture = frame(self.board, self._began, time.time(), width, height)
        self._live.update(picture, refresh=True)


def frame(
    board: Board, began: float, now: float, width: int, height: int, *, going: bool = True
) -> Group:
    """One picture of a sweep: what it is, how far it is, its trials; and if it is ``going`` on,
    when it ends."""
    head = flow([Text(board.plan["name"], style="bold"), *map(Text, summary(board.plan))], width)
    links = [
        Text.assemble((f"{name} ", "dim"), (url, "blue"), overflow="fold")
        for name, url in board.plan.get("links", {}).items()
    ]
    top: list[RenderableType] = [
        head,
        *links,
        budget(board, now - began, now, width, going),
        Text(),
    ]
    rows = board.rows
    room = max(1, height - head.plain.count("\n") - len(links) - FURNITURE)
    shown = chosen(rows, room)
    table = Text("\n", no_wrap=True, overflow="crop").join(trials_table(board, shown, now, width))
    return Group(*top, table, footer(board, rows, shown, width))


def flow(parts: Sequence[Text], width: int, gap: str = "  ·  ") -> Text:
    """Parts side by side, in as many lines as they need, broken only between parts."""
    text, used = Text(), 0
    for part in parts:
        if used and used + len(gap) + part.cell_len > width:
            text.append("\n")
            used = 0
        elif used:
            text.append(gap, style="dim")
            used += len(gap)
        text.append_text(part)
        used += part.cell_len
    return text


def budget(board: Board, elapsed: float, now: float, width: int, going: bool) -> Table:
    """A bar for the share of the work that is done, and what it brought so far."""
    rows, best, left = board.rows, board.best(), board.seconds_left(now)
    done = sum(row.ended for row in rows)
    words = [Text(f"{board.share():.0%}", "bold"), Text(far(board))]
    if best is not None:
        score = Text(f"best {metric_title(board.metric)} ")
        words.append(score.append(format_score(best.score), "bold green").append(f" {best.label}"))
    words.append(Text(duration(elapsed)))
    if done < board.total and left is not None:
        ends = datetime.fromtimestamp(now + left).strftime("%H:%M")
        words[-1].append(f", ~{duration(left)} left")
        words += [Text(f"ends {ends}")] if going else []
    if cost := board.worker_seconds():
        words.append(Text(f"{duration(cost)} of worker time"))
    while len(words) > 3 and sum(word.cell_len + 3 for word in words) + 10 > width:
        words.pop()
    text = flow(words, max(width - 10, 20), " · ")
    wide = max(map(cell_len, text.plain.split("\n")))
    bar = ProgressBar(total=1.0, completed=board.share(), width=max(8, min(40, width - 2 - wide)))
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_row(bar, text)
    return line


def far(board: Board) -> str:
    """How many trials have ended, in each phase if there are several."""
    phases = board.phases()
    if len(phases) == 1:
        _, ended, of = phases[0]
        return f"{ended}/{noun(of, 'trial')}"
    return " · ".join(f"{name} {ended}/{of}" for name, ended, of in phases)


def chosen(rows: Sequence[Row], room: int) -> list[Row]:
    """The trials that a table of so many rows shows: those under way, then the best that ended."""
    running = [row for row in rows if row.state == "running"]
    best = ranked(row for row in rows if row.ended)[: max(1, min(BEST, room - len(running)))]
    return [*running[: max(0, room - len(best))], *best]


@dataclass(frozen=True)
class Column:
    """A column of the table of trials: given room in the order of ``rank``, if it fits."""

    title: str
    cells: Sequence[str | Text]
    rank: float
    room: int = 0
    left: bool = False
    style: str = ""

    @property
    def width(self) -> int:
        widest = max(cell_len(str(cell)) for cell in (self.title, *self.cells))
        return max(self.room, min(widest, WIDEST))

    def cell(self, content: str | Text) -> Text:
        """A cell's content, as wide as the column."""
        text = Text(content, self.style) if isinstance(content, str) else content.copy()
        text.truncate(self.width, overflow="ellipsis")
        text.align("left" if self.left else "right", self.width)
        return text


def trials_table(board: Board, rows: Sequence[Row], now: float, width: int) -> list[Text]:
    """The trials, in the columns that fit: the most telling ones are given room first.

    Lines are laid out here and not in a rich Table, which costs five times as much a frame.
    """
    columns = [*standing(board, rows), *settings(board, rows), *pace(board, rows, now)]
    fits: set[int] = set()
    used = -GAP
    for i, column in sorted(enumerate(columns), key=lambda pair: pair[1].rank):
        if used + GAP + column.width <= width or not fits:
            fits.add(i)
            used += GAP + column.width
    shown = [column for i, column in enumerate(columns) if i in fits]
    titles = line([column.cell(Text(column.title, "bold")) for column in shown])
    return [titles, *(line([c.cell(c.cells[i]) for c in shown]) for i in range(len(rows)))]


def line(cells: Sequence[Text]) -> Text:
    """The cells of one row, side by side."""
    return Text(" " * GAP).join(cells)


def standing(board: Board, rows: Sequence[Row]) -> list[Column]:
    """Where each trial stands."""
    best = board.best()
    leader = best.number if best is not None else None
    names = [Text(row.label) for row in rows]
    states = [state(row) for row in rows]
    rungs = [f"{board.passed(row.come)}/{len(board.stages)}" for row in rows]
    scores = [
        Text(format_score(row.score), "bold green" if row.number == leader else "") for row in rows
    ]
    return [
        Column("trial", names, rank=0, room=6, left=True),
        Column("state", states, rank=2, room=9, left=True),
        Column("rung", rungs, rank=4),
        Column("kimg", [kimg(row.step) for row in rows], rank=3, room=5),
        Column(metric_title(board.metric), scores, rank=1, room=5),
        Column("curve", [curve(board, row) for row in rows], 5, CURVE, left=True, style="magenta"),
    ]


def state(row: Row) -> Text:
    """A trial's state, and a mark if a diagnostic warns of it."""
    text = Text(row.state, COLOURS[row.state])
    return text.append(f" {WARNED}", "bold yellow") if row.warned else text


def settings(board: Board, rows: Sequence[Row]) -> list[Column]:
    """What each trial tries. The first two are worth more room than the speed, the others less."""
    columns = []
    for i, (name, short) in enumerate(board.short.items()):
        values = [row.params.get(name) for row in rows]
        cells = [Text(one_line(format_value(value)), overflow="ellipsis") for value in values]
        words = any(isinstance(value, str) for value in values)
        columns.append(Column(short, cells, rank=(6 if i < 2 else 9) + i / 1000, left=words))
    return columns


def pace(board: Board, rows: Sequence[Row], now: float) -> list[Column]:
    """How fast each trial under way is, and when it would come to its horizon."""
    going = [row.state == "running" and bool(row.step) for row in rows]
    rates = [
        f"{row.rate:,.0f}" if on and row.rate else "" for on, row in zip(going, rows, strict=True)
    ]
    whole = [1.0] * len(board.stages)
    lefts = [
        duration(board.left_of(row, whole, now)) if on else ""
        for on, row in zip(going, rows, strict=True)
    ]
    return [Column("img/s", rates, rank=8, room=6), Column("left", lefts, rank=5.5, room=5)]


def curve(board: Board, row: Row) -> str:
    """A sparkline as long as the part of the horizon that lies behind."""
    points = max(1, round(board.plan["horizon_kimg"] / board.plan["every_kimg"]))
    width = min(CURVE, points)
    return sparkline(row.values, max(1, math.ceil(len(row.values) * width / points)))


def footer(board: Board, rows: Sequence[Row], shown: Sequence[Row], width: int) -> Text:
    """What the table leaves out, what the marks mean, and what went wrong, or was warned of,
    last."""
    here, all_of = Counter(row.state for row in shown), Counter(row.state for row in rows)
    counts = [
        f"{all_of[state] - here[state]}{' more' if here[state] else ''} {state}"
        for state in COLOURS
        if all_of[state] > here[state]
    ]
    if to_come := board.total - len(rows):
        counts.append(f"{to_come} to come")
    marks = [f"{row.label} {one_line(row.baseline)}" for row in rows if row.baseline is not None]
    lines = [Text(", ".join(counts), "dim")] if counts else []
    lines += [flow([Text(mark, "dim") for mark in marks], width)] if marks else []
    news = [
        (r.at, f"{r.name} {r.state}: ", COLOURS[r.state], r.reason)
        for r in rows
        if r.state in BROKEN
    ]
    news += [
        (r.warned_at, f"{r.name} {WARNED} ", "bold yellow", r.warned)
        for r in rows
        if r.warned and r.state not in BROKEN
    ]
    if news:
        _, who, colour, what = max(news)
        said = Text.assemble((who, colour), (what, "dim"))
        said.truncate(width, overflow="ellipsis")
        lines.append(said)
    for finding in board.health()[:1]:
        said = Text.assemble((f"{finding.says}: ", "yellow"), (finding.advice, "dim"))
        said.truncate(width, overflow="ellipsis")
        lines.append(said)
    return Text("\n").join(lines)


# Line by line.


class PlainLines:
    """One plain line per event, for logs and pipes."""

    def __init__(self, plan: Mapping[str, Any], ledger: Ledger, out: IO[str]) -> None:
        self.board, self.out = Board(plan, ledger), out
        self._guard, self._open = threading.Lock(), True
        self._began, self._judged = time.time(), set[str]()
        known = ledger.length
        going_on = [f"going on after {noun(known, 'event')}"] if known else []
        trials = noun(self.board.total, "trial")
        self._say(
            time.time(), "sweep", ", ".join([plan["name"], trials, *summary(plan), *going_on])
        )

    def observe(self, event: Event) -> None:
        if self.board.learn(event):
            name = self.board[event.trial].name
            self._say(event.at, name, self._words(event))
            for verdict in self.board.ledger[event.trial].fresh(event):
                if verdict["level"] == "warn":
                    said = one_line(f"{verdict['name']}: {verdict['says']}")
                    self._say(event.at, name, f"{_word('warning')}{self._at(event)}{said}")
            if event.kind == "ended":
                self._judge(event)

    def _judge(self, event: Event) -> None:
        """Say what is new of the health of the sweep, once."""
        for finding in self.board.health():
            if finding.rule not in self._judged:
                self._judged.add(finding.rule)
                self._say(event.at, "sweep", f"{finding.says}: {finding.advice}")

    def close(self) -> None:
        """Say how far it came."""
        if not self._open:
            return
        best = self.board.best()
        words = [f"{far(self.board)} ended", duration(time.time() - self._began)]
        if best is not None:
            words.insert(1, f"best {self.board.metric} {format_score(best.score)} ({best.name})")
        self._say(time.time(), "sweep", ", ".join(words))
        self._open = False

    def _words(self, event: Event) -> str:
        row = self.board[event.trial]
        match event.kind:
            case "started":
                return _word("started") + self._start(event, row)
            case "measured":
                return self._measurement(event)
            case "ended":
                score = f"{self.board.metric} {format_score(event.value)}  "
                why = f"{self._at(event)}{score if event.value is not None else ''}{row.reason}"
                return _word(event.decision or "ended") + why
        reason = one_line(event.data["reason"])
        return _word("lost") + f"{self._at(event)}attempt {event.attempt}: {reason}"

    def _start(self, event: Event, row: Row) -> str:
        again = f"attempt {event.attempt} from {kimg(event.step)} kimg  "
        what = f"baseline {one_line(row.baseline)}  " if row.baseline is not None else ""
        if row.run_of is not None:
            what = f"{row.role} of t{row.run_of:03d}  "
        params = (
            f"{self.board.short.get(name, name)} {one_line(format_value(value))}"
            for name, value in row.params.items()
        )
        return (again if event.attempt > 1 else "") + what + "  ".join(params)

    def _measurement(self, event: Event) -> str:
        best, rung = self.board.best(), self.board.newly_passed(event)
        label = f"rung {rung}/{len(self.board.stages)}" if rung else "measured"
        score = f"{self.board.metric} {format_score(event.value)}"
        so_far = f"  best {format_score(best.score)}" if best is not None else ""
        return f"{_word(label)}{self._at(event)}{score}{so_far}"

    def _at(self, event: Event) -> str:
        return f"{kimg(event.step):>5} kimg  "

    def _say(self, at: float, who: str, words: str) -> None:
        clock = datetime.fromtimestamp(at).strftime("%H:%M:%S")
        line = f"{clock} {who} {one_line(words) if who == 'sweep' else words}".rstrip()
        with self._guard:
            self._open = self._open and put(line, self.out)


def _word(word: str) -> str:
    """What happened, as wide as the widest of such words."""
    return f"{word:<9}  "


def put(line: str, out: IO[str]) -> bool:
    """Write a line at once, in what characters the stream has. False when nobody reads any more,
    which is no reason to end a sweep."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    try:
        out.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        out.flush()
    except BrokenPipeError:
        return False
    return True


class JsonLines:
    """A JSON object per line on stdout, for programs; what people read goes to ``human``.

    The events are sweep, started, measured, rung, ended, lost and, at the end, answer.
    """

    def __init__(
        self, plan: Mapping[str, Any], ledger: Ledger, out: IO[str], human: Listener
    ) -> None:
        self.board, self.out, self.human = Board(plan, ledger), out, human
        self._guard, self._open = threading.Lock(), True
        fields = ("id", "name", "space", "data", "metric", "horizon_kimg", "every_kimg", "rungs")
        more = (
            "factor",
            "trials",
            "runs",
            "confirm",
            "seed",
            "parameters",
            "baselines",
            "concurrency",
            "engine",
        )
        about = {name: plan[name] for name in (*fields, *more, "links") if name in plan}
        self._say("sweep", {**about, "at": time.time(), "events_before": ledger.length})

    def observe(self, event: Event) -> None:
        self.human.observe(event)
        if not self.board.learn(event):
            return
        row, rung = self.board[event.trial], self.board.newly_passed(event)
        common = {"seq": event.seq, "at": event.at, "trial": row.name, "number": row.number}
        common |= {"attempt": event.attempt, "images": event.step}
        self._say(event.kind, {**common, **self._fields(event, row)})
        if rung is not None:
            place = {"rung": rung, "rungs": len(self.board.stages)}
            self._say("rung", {**common, **place, **self._verdict(event)})

    def close(self) -> None:
        self.human.close()
        if self._open:
            answer = answer_json(self.board.plan, self.board.ledger, self.board.ledger.path.parent)
            self._say("answer", answer)
            self._open = False

    def _fields(self, event: Event, row: Row) -> dict[str, Any]:
        match event.kind:
            case "started":
                role = {"role": row.role, "of": row.run_of}
                return {"params": dict(row.params), "baseline": row.baseline, **role}
            case "measured":
                return {**event.data, **self._verdict(event)}
            case "ended":
                found = {"score": row.score, "heldout": row.heldout, "metrics": dict(row.metrics)}
                found |= {"seconds": row.seconds}
                return {"state": event.decision, **found, **event.data}
        return {"reason": event.data["reason"]}

    def _verdict(self, event: Event) -> dict[str, Any]:
        best = self.board.best()
        sweep_best = {"score": best.score, "trial": best.name} if best is not None else None
        return {"value": event.value, "decision": event.decision, "sweep_best": sweep_best}

    def _say(self, event: str, fields: Mapping[str, Any]) -> None:
        line = json.dumps(finite({"schema": SCHEMA, **fields, "event": event}), allow_nan=False)
        with self._guard:
            self._open = self._open and put(line, self.out)
