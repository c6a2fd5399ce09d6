"""A process that trains a trial together with others, and is not the first of them."""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

from sweeper.config import Trial
from sweeper.trial.loop import Diverged, Training
from sweeper.trial.parallel import Errand, joined


def main() -> None:
    """Do as the first rank does until the trial is over, or that rank is."""
    rank, size, meeting, errand = pickle.load(sys.stdin.buffer)
    threading.Thread(target=end_with_the_first, daemon=True).start()
    folder = meeting / str(rank)
    try:
        follow(rank, size, meeting, errand)
    except Diverged:
        pass  # the first rank says so
    except Exception as error:
        (folder / "draft").write_text(json.dumps(f"{type(error).__name__}: {error}"))
        (folder / "draft").rename(folder / "reason")
        raise


def follow(rank: int, size: int, meeting: Path, errand: Errand) -> None:
    for prepare in errand.prepare:
        prepare()
    trial = Trial.read(errand.trial)
    (meeting / str(rank) / "ready").touch()
    with joined(rank, size, meeting) as ranks:
        saved: dict[str, Any] | None = ranks.told(lambda: None)
        training = Training(
            trial, Path(errand.cache), threads=errand.threads, saved=saved, ranks=ranks
        )
        while not training.finished:
            training.advance()


def end_with_the_first() -> None:
    """Wait for the end of the input, which is that of the first rank."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    main()
