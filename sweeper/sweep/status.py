"""Where sweeps stand, as any shell sees it: one of them, once or as it goes on, or all of a folder
of results. Nothing is read but the ledgers, and nothing is written."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from sweeper.ledger.ledger import LedgerError, holder
from sweeper.ledger.names import format_score, lined
from sweeper.space.source import InputError
from sweeper.sweep.answer import answer_json, finite
from sweeper.sweep.board import Board, Row, noun, one_line
from sweeper.sweep.live import frame, view
from sweeper.sweep.logs import opened, plan_of

LOOK = 1.0
"""Seconds between two looks at a ledger that is watched."""
TALL = 10_000
"""Lines that a picture may have where nobody looks at it through a window."""
UNREADABLE = (LedgerError, InputError, KeyError)

State = Literal["running", "interrupted", "complete", "damaged"]


@dataclass(frozen=True)
class Standing:
    """A sweep at a glance. ``driver`` is the process that runs it, if one does."""

    folder: Path
    board: Board
    driver: str | None

    @property
    def state(self) -> State:
        if self.driver is not None:
            return "running"
        return "complete" if self.board.complete else "interrupted"

    @property
    def began(self) -> float:
        """When its driver took it up, or the last one that did."""
        newest, lock = self.board.ledger.newest, self.folder / "ledger.lock"
        at = lock.stat().st_mtime if lock.is_file() else 0.0
        # Of a copy, the file says when it was copied.
        return at if at and (newest is None or at <= newest.at) else self.board.ledger.began

    @property
    def now(self) -> float:
        """The time on its clock, which stands when nobody drives it."""
        newest = self.board.ledger.newest
        return time.time() if self.driver is not None or newest is None else newest.at

    def says(self) -> list[str]:
        """Whether it goes on, and what to type next."""
        where = shlex.quote(str(self.folder))
        match self.state:
            case "running":
                return [f"running, by {self.driver}; end it with", f"  sweeper stop {where}"]
            case "complete":
                return ["complete; look at it with", f"  sweeper ui {where}"]
        return ["interrupted, nothing is lost; go on with", f"  sweeper resume {where}"]

    def plain(self) -> dict[str, Any]:
        """The same as data: what the answer of a sweep holds, and where it stands."""
        found = answer_json(self.board.plan, self.board.ledger, self.folder)
        left = self.board.seconds_left(self.now) if self.driver is not None else None
        standing = {"event": "status", "state": self.state, "driver": self.driver}
        running = [_plain(row) for row in self.board.rows if row.state == "running"]
        times = {"seconds": self.now - self.began, "seconds_left": left}
        work = {"share": self.board.share(), "worker_seconds": self.board.worker_seconds()}
        plain: dict[str, Any] = finite({**found, **standing, **times, **work, "running": running})
        return plain


def _plain(row: Row) -> dict[str, Any]:
    about = {"trial": row.name, "number": row.number, "images": row.step, "score": row.score}
    return {**about, "params": dict(row.params)}


@contextmanager
def standing(folder: Path) -> Iterator[Standing]:
    """Where the sweep of a results folder stands, while its ledger is open for reading. Raises
    InputError and LedgerError."""
    with opened(folder) as ledger:
        yield Standing(folder, Board(plan_of(folder), ledger), holder(folder))


def status(folder: Path, console: Console) -> list[str]:
    """Print the picture of a sweep as it is now; returns what to say below it. Raises InputError
    and LedgerError."""
    with standing(folder) as found:
        width, height = console.size
        room = height if console.is_interactive else TALL
        going = found.driver is not None
        console.print(frame(found.board, found.began, found.now, width, room, going=going))
        return found.says()


def watch(folder: Path, console: Console) -> list[str]:
    """Show a sweep as the shell does that runs it, until nobody runs it any more or Ctrl-C; returns
    what to say below it. Raises InputError and LedgerError."""
    with standing(folder) as found:
        ledger = found.board.ledger
        screen = view(
            found.board.plan, ledger, json_lines=False, console=console, began=found.began
        )
        try:
            # Looked for before the ledger is read, which is whole once the driver has gone.
            while (driver := holder(folder)) is not None:
                for event in ledger.news():
                    screen.observe(event)
                time.sleep(LOOK)
            for event in ledger.news():
                screen.observe(event)
        except KeyboardInterrupt:
            driver = holder(folder)
        finally:
            screen.close()
        return Standing(folder, Board(found.board.plan, ledger), driver).says()


def status_json(folder: Path) -> str:
    """Where a sweep stands, as JSON. Raises InputError and LedgerError."""
    with standing(folder) as found:
        return json.dumps(found.plain(), allow_nan=False)


@dataclass(frozen=True)
class Line:
    """A sweep of a folder of results. One that cannot be read is ``damaged``, for a ``reason``."""

    name: str
    state: State
    ended: int = 0
    trials: int = 0
    metric: str = ""
    best: float | None = None
    trial: str = ""
    data: str = ""
    at: float = 0.0
    reason: str = ""

    def cells(self) -> list[str]:
        when = datetime.fromtimestamp(self.at).strftime("%Y-%m-%d %H:%M") if self.at else ""
        best = f"{format_score(self.best)} {self.trial}" if self.best is not None else "–"
        trials = f"{self.ended}/{self.trials}"
        found = [trials, best, self.metric, self.data] if not self.reason else ["", "", "", ""]
        cells = [self.name, self.state, *found, when, self.reason]
        return [one_line(cell) for cell in cells]

    def plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = finite(vars(self))
        return plain


TITLES = ["sweep", "state", "trials", "best", "metric", "data", "last heard of", ""]


def listed(folder: Path, progress: Callable[[str, int, int], None]) -> list[Line]:
    """The sweeps of a folder of results, or the one that it is, the latest first. Raises
    InputError when there is no such folder."""
    if not folder.is_dir():
        raise InputError([f"results lie in a folder, but there is no folder {folder}"])
    places = [folder] if (folder / "ledger.sqlite").is_file() else sorted(folder.iterdir())
    sweeps = [place for place in places if (place / "ledger.sqlite").is_file()]
    lines, begun = [], time.monotonic()
    for done, place in enumerate(sweeps, 1):
        lines.append(_line(place))
        if time.monotonic() - begun > LOOK:
            progress("ledgers", done, len(sweeps))
    return sorted(lines, key=lambda line: -line.at)


def _line(folder: Path) -> Line:
    name = folder.resolve().name
    try:
        with standing(folder) as found:
            board = found.board
            phases, best = board.phases(), board.best()
            newest = board.ledger.newest
            return Line(
                name=name,
                state=found.state,
                ended=sum(ended for _, ended, _ in phases),
                trials=sum(of for _, _, of in phases),
                metric=board.metric,
                best=best.score if best is not None else None,
                trial=best.name if best is not None else "",
                data=str(board.plan["data"]["name"]),
                at=newest.at if newest is not None else float(board.plan["created"]),
            )
    except UNREADABLE as error:
        return Line(name, "damaged", reason=str(error))


def list_lines(folder: Path, progress: Callable[[str, int, int], None]) -> list[str]:
    """The sweeps of a folder of results, a line each."""
    found = listed(folder, progress)
    if not found:
        return [f"{folder} holds no sweep; sweeper run makes one"]
    return [*lined([TITLES, *(line.cells() for line in found)]), "", noun(len(found), "sweep")]


def list_json(folder: Path, progress: Callable[[str, int, int], None]) -> str:
    """The same as JSON."""
    return json.dumps([line.plain() for line in listed(folder, progress)], indent=2)
