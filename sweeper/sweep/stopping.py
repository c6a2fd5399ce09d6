"""What ends a sweep before all its trials have ended: a signal, ``sweeper stop``, a limit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from sweeper.ledger.ledger import Ledger, holder
from sweeper.space.source import InputError
from sweeper.sweep.limits import reached

if TYPE_CHECKING:
    from sweeper.sweep.executor import Sweep
    from sweeper.sweep.plan import Plan

GRACE = 12.0
"""Seconds between a signal and the end of the process, whatever a worker is doing."""
LOOK = 1.0
"""Seconds between two looks for a request to stop, and at the limits."""
PATIENCE = 30.0
"""Seconds for which ``sweeper stop`` waits until the driver has let go."""
REQUEST = "stop"
"""The file in a results folder that asks its driver to stop."""


@dataclass
class Ending:
    """Hears what is to end a sweep.

    The first signal asks for an end; ``urgent`` interrupts the main thread, which is the one that
    trains. A second one, or the end of the grace, leaves at once: what was committed is safe. A
    request to stop is as a SIGTERM. A limit is, too, but for the exit code: it is part of what the
    space asked for, so that the code is the one of what was found.
    """

    sweep: Sweep
    say: Callable[[str], None]
    urgent: bool
    caught: list[int] = field(default_factory=list)
    limit: str | None = None
    timer: threading.Timer | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def code(self) -> int:
        """The exit code of a signal, or 0."""
        return 128 + self.caught[0] if self.caught and self.limit is None else 0

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """While this lasts, signals, requests and limits end the sweep."""
        (self.sweep.plan.folder / REQUEST).unlink(missing_ok=True)  # it was for a driver before
        main = threading.current_thread() is threading.main_thread()
        watch = threading.Thread(target=self._watch, args=(main,), name="ending", daemon=True)
        with self.signals():
            watch.start()
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    yield
            finally:
                self.over.set()
                with contextlib.suppress(KeyboardInterrupt):
                    watch.join()
                if self.limit is not None:
                    self.calm()  # nobody is in a hurry

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """While this lasts, signals are noted; once the sweep is over, they interrupt nothing but
        the waiting for room on a disk."""
        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        before = {number: signal.signal(number, self._signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signal(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(number)
        self.sweep.stopping.set()
        if len(self.caught) > 1:
            self._leave()
        self.timer = threading.Timer(GRACE, self._leave)
        self.timer.daemon = True
        self.timer.start()
        if self.urgent and not self.over.is_set():
            raise KeyboardInterrupt

    def calm(self) -> None:
        """The process need not end any more, however long it lives."""
        if self.timer is not None:
            self.timer.cancel()

    def _leave(self) -> None:
        leave(self.sweep, self.code or code(self.sweep.ledger))

    def _watch(self, main: bool) -> None:
        request = self.sweep.plan.folder / REQUEST
        while not self.over.is_set():
            self.limit = self._reached()
            if self.limit is not None:
                self.say(f"stopping: {self.limit}")
            elif request.exists():
                request.unlink(missing_ok=True)
                self.say("told to stop")
            else:
                self.over.wait(LOOK)
                continue
            self.sweep.stopping.set()
            if main:
                os.kill(os.getpid(), signal.SIGTERM)
            return

    def _reached(self) -> str | None:
        plan = self.sweep.plan
        return reached(plan.space.limits, self.sweep.spent, plan.trials)


def resume_line(ledger: Ledger, plan: Plan) -> str:
    done = len(ledger) - len(ledger.unended)
    ahead = plan.agenda.ahead(ledger.records)
    runs = len(ledger) + sum(ahead.values())
    shown = os.path.relpath(plan.folder)
    state = f"interrupted: {done} of {runs} trials have ended, nothing is lost"
    return f"{state}; go on with\n  sweeper resume {shown}"


def leave(sweep: Sweep, code: int) -> NoReturn:
    """End this process at once, whatever its threads are doing: what was committed is safe."""
    print(resume_line(sweep.ledger, sweep.plan), file=sys.stderr, flush=True)
    os._exit(code)


def code(ledger: Ledger) -> int:
    """The exit code of a sweep that was not interrupted."""
    states = {record.state for record in ledger.records}
    if not {"completed", "stopped"} & states:
        return 1
    return 3 if "failed" in states else 0


def stop(name: str, out: Path, say: Callable[[str], None]) -> bool:
    """Ask the driver of a results folder, which ``name`` is or has below ``out``, to stop, and wait
    until it has. False when nobody drives it, or nobody hears. Raises InputError."""
    folder = named(name, out)
    who = holder(folder)
    if who is None:
        say(f"{folder}: nobody drives it, so that there is nothing to stop")
        return False
    (folder / REQUEST).touch()
    say(f"{folder}: asked {who} to stop")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if holder(folder) is None:
            say(f"stopped; go on with\n  sweeper resume {folder}")
            return True
        time.sleep(LOOK / 4)
    heard = "has not let go yet" if not (folder / REQUEST).exists() else "does not hear"
    say(f"{who} {heard}")
    return False


def named(name: str, out: Path) -> Path:
    """The results folder of a name. Raises InputError."""
    for folder in (Path(name), out / name):
        if (folder / "ledger.sqlite").is_file():
            return folder
    law = "a results folder holds ledger.sqlite"
    raise InputError([f"{law}, but neither {name} nor {out / name} does"])
