"""The answer that a sweep ends with, before any link: what was best, against what, at what cost."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from sweeper.ledger.confirmed import Confirmed, sentences
from sweeper.ledger.descent import descent
from sweeper.ledger.ledger import BROKEN, Ledger
from sweeper.ledger.names import format_score, format_value
from sweeper.sweep.board import COLOURS, MARK, Board, Row, kimg, noun, one_line, ranked

SCHEMA = 1
"""The version of the JSON lines: it changes when a field changes its meaning or goes away."""

MORE = 24
"""How many trials the answer proposes to add."""


def answer_json(plan: Mapping[str, Any], ledger: Ledger, folder: Path) -> dict[str, Any]:
    """What a sweep found, as plain data: the best trials, the baselines, and what it took."""
    board = Board(plan, ledger)
    rows = board.rows
    best, baselines = found(board)
    fresh = board.confirmed()
    states = Counter(row.state for row in rows)
    come, full = sum(row.come for row in rows), len(rows) * board.horizon
    bad = [row for row in rows if row.state in BROKEN]
    plain: dict[str, Any] = finite(
        {
            "schema": SCHEMA,
            "event": "answer",
            "name": plan["name"],
            "folder": str(folder),
            "metric": board.metric,
            "from": plan.get("from"),
            "complete": board.complete,
            "trials": board.total,
            "phases": {name: {"ended": n, "of": of} for name, n, of in board.phases()},
            "confirmed": fresh.plain() if fresh is not None else None,
            "states": {state: states[state] for state in COLOURS},
            "best": [_plain(row) for row in best[:3]],
            "baselines": [_plain(row) for row in baselines],
            "ratio_heldout": ratio(best[:1], baselines[:1]),
            "images": sum(row.step for row in rows),
            "share_of_full": come / full if full else None,
            "failures": [{"trial": r.name, "state": r.state, "reason": r.reason} for r in bad],
            "next": [command for command, _ in commands(board, folder)],
        }
    )
    return plain


def _plain(row: Row) -> dict[str, Any]:
    about = {"trial": row.name, "number": row.number, "baseline": row.baseline, "state": row.state}
    scores = {"score": row.score, "heldout": row.heldout, "metrics": dict(row.metrics)}
    return {**about, **scores, "images": row.step, "params": dict(row.params)}


def found(board: Board) -> tuple[list[Row], list[Row]]:
    """The searched trials and the baselines that have a score, each best first: those first that
    were confirmed, once they are."""
    best, fresh = ranked(board.rows), board.confirmed()
    place = fresh.places if fresh is not None else {}
    best.sort(key=lambda row: place.get(row.number, len(place)))
    return [r for r in best if r.baseline is None], [r for r in best if r.baseline is not None]


def ratio(best: Sequence[Row], baselines: Sequence[Row]) -> float | None:
    """How many times lower the best is than the baseline, on what neither was chosen by."""
    if not best or not baselines or not best[0].heldout or baselines[0].heldout is None:
        return None
    return baselines[0].heldout / best[0].heldout


def answer(plan: Mapping[str, Any], ledger: Ledger, folder: Path) -> RenderableType:
    """What a sweep found, for a terminal or, without colours, for a log.

    Print it with ``soft_wrap=True``, so that the commands stay whole in a narrow window.
    """
    return Answer(Board(plan, ledger), folder)


@dataclass(frozen=True)
class Answer:
    """Sentences that wrap, a table, and commands that do not."""

    board: Board
    folder: Path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        best, baselines = found(self.board)
        fresh = self.board.confirmed()
        told = [headline(self.board, best, baselines)]
        if fresh is not None:
            told = [Text(one_line(s)) for s in sentences(fresh, self.board.metric)]
            told[0].stylize("bold")
        for sentence in (*told, *took(self.board)):
            # A log has no width to keep to, and is searched by line.
            wrapped = sentence.wrap(console, options.max_width, no_wrap=False, overflow="fold")
            yield from wrapped if console.is_terminal else [sentence]
        if compared := [*best[:3], *baselines[:1]]:
            yield Text()
            yield comparison(self.board, compared, fresh)
        yield Text()
        pairs = commands(self.board, self.folder)
        wide = max(len(command) for command, _ in pairs)
        explained = 2 + wide + 4 + max(len(why) for _, why in pairs) <= options.max_width
        for command, why in pairs:
            text = Text.assemble("  ", (command, "cyan"), no_wrap=True, overflow="ignore")
            if explained:
                text.append(f"{'':{wide - len(command)}}  # {why}", "dim")
            yield text


def headline(board: Board, best: Sequence[Row], baselines: Sequence[Row]) -> Text:
    """The one sentence that the sweep was run for."""
    if not best and baselines and all(row.baseline is not None for row in board.rows):
        first = baselines[0]
        return Text.assemble(
            f"Best {board.metric} ",
            (format_score(first.score), "bold green"),
            f" by the baseline {one_line(first.baseline or '')}; nothing was searched.",
        )
    if not best:
        return Text("No searched trial came to a score that counts.", "bold red")
    top, times = best[0], ratio(best, baselines)
    text = Text.assemble(
        f"Best {board.metric} ", (format_score(top.score), "bold green"), f" by {top.name}"
    )
    text.append(f" (held-out {format_score(top.heldout)})" if top.heldout is not None else "")
    if not baselines:
        return text.append(".")
    base = baselines[0]
    text.append(f"; {one_line(base.baseline or '')} {format_score(base.score)}")
    text.append(f" (held-out {format_score(base.heldout)})" if base.heldout is not None else "")
    if times is None:
        return text.append(". Held-out values are known of trials that ran to the horizon.")
    verdict = f"{times:.1f}× lower" if times >= 1 else f"{1 / times:.1f}× higher"
    return text.append(": ").append(f"{verdict} on held-out", "bold").append(".")


def took(board: Board) -> list[Text]:
    """What it took, what was stopped, and what went wrong."""
    rows = board.rows
    states = Counter(row.state for row in rows)
    ended, full = sum(row.ended for row in rows), len(rows) * board.horizon
    lines = []
    if not board.complete:
        lines.append(Text(f"{ended} of {noun(board.total, 'trial')} have ended.", "yellow"))
    if full:
        share = sum(row.come for row in rows) / full
        stopped = f"{states['stopped']} of {noun(len(rows), 'trial')} stopped early"
        lines.append(Text(f"{stopped}; the sweep took {share:.0%} of the images of full trials."))
    for state in BROKEN:
        if bad := [row for row in rows if row.state == state]:
            said = f"{len(bad)} {state}, the first ({bad[0].name}): {bad[0].reason}"
            lines.append(Text(said, COLOURS[state]))
    if came := descent(board.plan):
        lines.append(Text(one_line(came)))
    return lines


def comparison(board: Board, rows: Sequence[Row], fresh: Confirmed | None) -> Table:
    """Configurations side by side: a column a trial, a row a parameter."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", style="dim", no_wrap=True)
    for row in rows:
        title = row.name if row.baseline is None else f"{MARK} {one_line(row.baseline)}"
        table.add_column(Text(title), justify="right", overflow="ellipsis", no_wrap=True)
    best = [
        Text(format_score(row.score), "bold green" if i == 0 else "") for i, row in enumerate(rows)
    ]
    table.add_row(board.metric, *best)
    table.add_row("held-out", *(format_score(row.heldout) for row in rows))
    for name in sorted({name for row in rows for name in row.metrics}):
        table.add_row(name, *(format_score(row.metrics.get(name)) for row in rows))
    for name, cells in again(rows, fresh):
        table.add_row(name, *cells)
    table.add_row("kimg", *(kimg(row.step) for row in rows))
    for name, short in board.short.items():
        values = [row.params.get(name) for row in rows]
        if any(value is not None for value in values):
            table.add_row(Text(short), *(Text(one_line(format_value(v))) for v in values))
    return table


def again(rows: Sequence[Row], fresh: Confirmed | None) -> list[tuple[str, list[str]]]:
    """What trials came to on fresh seeds: a title, and a cell for each."""
    if fresh is None:
        return []
    known = {c.number: c for c in fresh.order}
    some = [known.get(row.number) for row in rows]
    spans = [c.interval if c is not None else None for c in some]
    told = [
        ("fresh seeds", [format_score(c.mean) if c is not None else "" for c in some]),
        ("from", [format_score(span[0]) if span is not None else "" for span in spans]),
        ("to, 95 %", [format_score(span[1]) if span is not None else "" for span in spans]),
        ("alike", [c.letters if c is not None else "" for c in some]),
        ("broke", [f"{c.broken} of {c.runs}" if c is not None else "" for c in some]),
    ]
    return [(title, cells) for title, cells in told if any(cells)]


def commands(board: Board, folder: Path) -> list[tuple[str, str]]:
    """What to type next, and why."""
    where, page = shlex.quote(str(folder)), shlex.quote(str(folder / "report.html"))
    space = shlex.quote(board.plan.get("file") or f"search_spaces/{board.plan['space']}.yaml")
    more = int(board.plan["trials"]) + MORE
    resume = f"sweeper resume {where}" + (f" --trials {more}" if board.complete else "")
    return [
        (f"sweeper ui {where}", "every curve and sample, in MLflow"),
        (f"open {page}", "the report"),
        (resume, f"{MORE} trials more" if board.complete else "go on from here"),
        (f"sweeper run {space} --data path/to/your/images", "the same on your images"),
    ]


def finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    match value:
        case Mapping():
            return {str(key): finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
    return value
