"""A reader's shell that starts Python once: runs the commands on standard input, up to the first
that fails, and ends with its exit code."""

from __future__ import annotations

import shlex
import sys

from sweeper.cli import main


def ended(line: str) -> int:
    """Run a command. Returns its exit code."""
    print(f"$ {line}", flush=True)
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    lines = sys.stdin.read().splitlines()
    sys.exit(next(filter(None, map(ended, lines)), 0))
