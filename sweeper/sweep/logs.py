"""The log of a trial, written by its worker, and the story of a sweep, read from its ledger."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sweeper.ledger.ledger import Event, Ledger, Record
from sweeper.ledger.names import format_score
from sweeper.ledger.redact import hide
from sweeper.registry import nearest
from sweeper.space.brought import put_here
from sweeper.space.source import InputError
from sweeper.sweep.agenda import planned
from sweeper.sweep.mirror import attempts, newest, trial_name
from sweeper.sweep.storage import Storage, StorageError

if TYPE_CHECKING:
    from sweeper.sweep.executor import Job

FILE = "log.txt"
POLL = 0.5
"""Seconds between two looks at a log that is followed."""
FAR = 3.0
"""The same, where other nodes put it into a storage."""
LOGGER = logging.getLogger("sweeper")

Reports = Iterator[dict[str, Any]]


class Lines(logging.Handler):
    """Appends records to the log of a trial: when, where, in which attempt, what.

    The file is opened anew for each, and never through a link. A disk that takes no line of a log
    is no reason to lose a trial.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        super().__init__()
        self.path, self.attempt, self.host = folder / FILE, attempt, socket.gethostname()

    def emit(self, record: logging.LogRecord) -> None:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(" ", "milliseconds")[:-6]
        where = f"{at}Z {self.host} attempt {self.attempt}"
        line = hide(f"{where} {record.levelname} {self.format(record)}\n")
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            handle = os.open(self.path, flags, 0o644)
            try:
                os.write(handle, line.encode(errors="replace"))
            finally:
                os.close(handle)


def logged(work: Callable[[Job], Reports]) -> Callable[[Job], Reports]:
    """Have a worker keep the log of its trial: what sweeper and Python warn of, what it measures,
    and the traceback of what it raises."""

    @functools.wraps(work)
    def kept(job: Job) -> Reports:
        lines, reports = Lines(Path(job.folder), job.attempt), work(job)
        try:
            while True:
                with heard(lines):
                    report = next(reports, None)
                    if report is not None:
                        note(report)
                if report is None:
                    return
                yield report
        finally:
            if close := getattr(reports, "close", None):
                close()

    return kept


@contextlib.contextmanager
def heard(lines: Lines) -> Iterator[None]:
    """While this lasts, what is logged and warned of goes to a trial's log. Others hear it, too."""
    shown, level = warnings.showwarning, LOGGER.level

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        LOGGER.warning("%s:%d: %s: %s", filename, lineno, category.__name__, text)
        told = message if hide(text) == text else hide(text)
        shown(told, category, filename, lineno, file, line)

    warnings.showwarning = show
    LOGGER.addHandler(lines)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(lines)
        warnings.showwarning = shown


def note(report: dict[str, Any]) -> None:
    """Log what a worker reports."""
    match report:
        case {"kind": "measured", "images": images, "score": score, "seconds": seconds}:
            LOGGER.info("at %s images: score %.6g, after %.1f s", f"{images:,}", score, seconds)
        case {"kind": kind, "reason": reason, "traceback": trace}:
            LOGGER.error("%s: %s\n%s", kind, reason, trace.rstrip())
        case {"kind": kind, "reason": reason}:
            LOGGER.error("%s: %s", kind, reason)


def trial_of(word: str, records: Sequence[Record], folder: Path) -> Record:
    """The trial that a word names: ``3``, ``003`` or ``t003``. Raises InputError."""
    found = re.fullmatch(r"t?0*(\d{1,9})", word.strip().lower())
    numbered = {record.number: record for record in records}
    if found and int(found[1]) in numbered:
        return numbered[int(found[1])]
    if not records:
        raise InputError([f"a trial is one that has begun, but {folder} has none yet"])
    first, last = records[0].name, records[-1].name
    known = f"one of {first} to {last}" if len(records) > 1 else first
    close = nearest(word, [record.name for record in records]) if not found else None
    hint = f"; did you mean {close}?" if close else ""
    raise InputError([f"a trial of {folder} is {known}, but got {word!r}{hint}"])


def opened(folder: Path) -> Ledger:
    """The ledger of a results folder, for reading. Raises InputError where there is none."""
    if not (folder / "ledger.sqlite").is_file():
        raise InputError([f"a results folder holds ledger.sqlite, but {folder} does not"])
    return Ledger(folder, write=False)


def logs(folder: Path, trial: str | None, *, follow: bool = False) -> Iterator[str]:
    """The lines of a trial's log or, without one, the story of the sweep; to ``follow`` it, those
    that are yet to come, until the trial or the sweep has ended. Raises InputError."""
    told = story(folder, follow=follow) if trial is None else of_trial(folder, trial, follow=follow)
    # A log may hold what a technique printed, and a terminal obeys control characters.
    return (re.sub(r"[^\t\x20-\x7e\xa0-\U0010ffff]", "�", line) for line in told)


def of_trial(folder: Path, word: str, *, follow: bool) -> Iterator[str]:
    """The lines of a trial's log."""
    record = read(folder, word)
    plan = plan_of(folder)
    position = 0
    storage = plan.get("storage") if put_here(folder / "sweep.json") else None
    while True:
        # Looked at before the log, which is complete once the trial has ended.
        over = not follow or record.ended
        found = [here(folder, record.number)]
        if storage:
            found.append(mirrored(storage, plan, record.number))
        data = max((each for each in found if each is not None), key=len, default=None)
        if data is None and not follow:
            law = f"a trial that has begun has a log, but {folder} has none of {record.name}"
            raise InputError([f"{law}, which is {record.state}"])
        lines, position = grown(data or b"", position, whole=over)
        yield from lines
        if over:
            return
        time.sleep(FAR if storage else POLL)
        record = read(folder, word)


def read(folder: Path, word: str) -> Record:
    with opened(folder) as ledger:
        return trial_of(word, ledger.records, folder)


def here(folder: Path, number: int) -> bytes | None:
    """A trial's log, as far as this machine sees it."""
    path = folder / "trials" / f"{number:05d}" / FILE
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None


def mirrored(uri: str, plan: dict[str, Any], number: int) -> bytes | None:
    """A trial's log, as the newest of its workers has put it into the storage."""
    try:
        trial = Storage(uri).under(plan["id"]).under(trial_name(number))
        found = newest(attempts(trial.files())).get(FILE)
        return trial.read(f"{found[0]}/{FILE}") if found else None
    except StorageError as error:
        LOGGER.warning("what other nodes logged is not shown: %s", error)
        return None


def grown(data: bytes, position: int, *, whole: bool) -> tuple[list[str], int]:
    """The lines of a log from a position on, and the position behind them; one that has no end yet
    waits, unless this is the ``whole``."""
    end = len(data) if whole else data.rfind(b"\n") + 1
    end = max(end, position)
    return data[position:end].decode(errors="replace").splitlines(), end


def story(folder: Path, *, follow: bool) -> Iterator[str]:
    """What happened to the trials of a sweep, an event a line, in order."""
    told = 0
    while True:
        with opened(folder) as ledger:
            events = [event for event in ledger.events if event.seq > told]
            records = ledger.records
        for event in events:
            told = event.seq
            yield said(event)
        ahead = planned(plan_of(folder)).ahead(records)
        if not follow or (not any(ahead.values()) and all(record.ended for record in records)):
            return
        time.sleep(POLL)


def plan_of(folder: Path) -> dict[str, Any]:
    """What ``sweep.json`` says of a sweep. Raises InputError."""
    file = folder / "sweep.json"
    try:
        plan: dict[str, Any] = json.loads(file.read_text())
        return plan | {"trials": int(plan["trials"]), "id": str(plan["id"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError([f"{file}: this is not what sweeper wrote there"]) from None


def said(event: Event) -> str:
    """An event in one line."""
    at = datetime.fromtimestamp(event.at, UTC).isoformat(" ", "seconds")[:-6]
    match event.kind:
        case "started":
            what = f"attempt {event.attempt}"
        case "measured":
            what = f"score {format_score(event.value)}, {event.decision}"
        case "ended":
            what = f"{event.decision}: {event.data.get('reason')}"
        case "lost":
            what = f"attempt {event.attempt}: {event.data.get('reason')}"
    cause = f" ({event.data['cause']})" if event.data.get("cause") else ""
    line = " ".join(f"{what}{cause}".split())
    return f"{at}Z  t{event.trial:03d}  {event.kind:<8}  {event.step / 1000:>9,.3f} kimg  {line}"
