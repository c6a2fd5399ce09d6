"""Waiting for room on a disk that is full."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from sweeper.sweep.failures import cause_of, full

FIRST, LONGEST = 1.0, 60.0
"""Seconds before one looks for room, and at most, when it turned out again and again to be too
little."""
LOOK = 1.0
"""Seconds between two looks."""
POLL = 0.2
"""Seconds between two looks at whether there is something to do again."""
NEEDED = 1 << 20
"""Bytes that there must be at least for a sweep to go on, beside two more checkpoints."""


@dataclass
class Room:
    """Whether there is room in a results folder. Tells in a line when it runs out, and when there
    is some again."""

    folder: Path
    say: Callable[[str], None]
    short: bool = False
    wait: float = FIRST
    again: float = 0.0

    def ran_out(self, why: str, *, full: bool = True) -> None:
        """Something could not be written."""
        if not self.short:
            told = f"disk full: {why}; free some space; going on when there is room"
            self.say(told if full else f"storage fails: {why}; tried again until it does not")
        self.short, self.again = True, monotonic() + self.wait
        self.wait = min(2 * self.wait, LONGEST)

    def was_enough(self) -> None:
        """Something was written."""
        self.wait = FIRST

    def there(self) -> bool:
        """Whether there is room. Looks at the disk no more than now and then."""
        if not self.short:
            return True
        if monotonic() < self.again:
            return False
        if not fits(self.folder, needed(self.folder)):
            self.again = monotonic() + LOOK
            return False
        self.short = False
        self.say("the disk can be written: going on")
        return True

    def write(self, write: Callable[[], object], what: str, stopping: threading.Event) -> None:
        """Write something that can be made again, as soon as there is room; without it, if the
        sweep was told to stop."""
        while True:
            try:
                write()
            except Exception as error:
                if cause_of(error) != "storage":
                    raise
                self.ran_out(f"{what}: {error}", full=full(error))
            else:
                return
            while not self.there():
                if stopping.wait(POLL):
                    self.say(f"{what} are as they were before: sweeper resume writes them")
                    return


def needed(folder: Path) -> int:
    """The bytes that the next steps of a sweep may take."""
    sizes = [0]
    for path in folder.glob("trials/*/checkpoints/*.pt"):
        with contextlib.suppress(OSError):  # a worker may have forgotten it by now
            sizes.append(path.stat().st_size)
    return NEEDED + 2 * max(sizes)


def fits(folder: Path, size: int) -> bool:
    """Whether so many bytes can be written. A part of them is, since a quota shows in no number."""
    probe = folder / f".room-{os.getpid()}"
    try:
        if shutil.disk_usage(folder).free < size:
            return False
        with probe.open("wb") as file:
            file.write(bytes(NEEDED))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return True
