"""The processes of a session: who lives, and how all of them are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


def session(leader: int) -> list[int]:
    """The processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of, *_ = stat.read_text().rpartition(")")[2].split()
            found += [int(stat.parent.name)] if int(of) == leader and state != "Z" else []
    return found


def end(leader: subprocess.Popen[bytes], patience: float = 30.0) -> list[int]:
    """Wait so many seconds until nothing of a process's session is left, and kill what does not go
    by itself: these are returned. A Ray takes some seconds to see that its driver is gone."""
    until = time.monotonic() + patience
    while (there := session(leader.pid)) and time.monotonic() < until:
        leader.poll()
        time.sleep(0.1)
    for pid in there:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    leader.wait()
    return there
