"""A failure, seen again: a trial's last stretch, once more in this process, and nothing changed."""

from __future__ import annotations

import os
import pdb
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from sweeper.config import Trial
from sweeper.ledger.ledger import Record
from sweeper.ledger.redact import hide
from sweeper.space.space import load
from sweeper.stream import Measurement
from sweeper.sweep.logs import opened, trial_of
from sweeper.sweep.mirror import stored_data, with_data
from sweeper.sweep.plan import brought_before, check_inside
from sweeper.sweep.single import in_words
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.device import choose_device
from sweeper.trial.loop import Training

Say = Callable[[str], None]


def debug(
    folder: Path, word: str, say: Say, *, use: Sequence[Path] = (), post_mortem: bool = False
) -> bool:
    """Train a trial of a sweep once more from its newest checkpoint, in this process, where a
    debugger can follow it. Returns whether it went well this time.

    Neither the ledger nor the trial's files are touched: it reads copies of the checkpoints, and
    writes the traceback of what it sees to the ``.cache`` beside the results, and nothing else. A
    ``post_mortem`` goes on to pdb where it went wrong. Raises InputError.
    """
    with opened(folder) as ledger:
        record = trial_of(word, ledger.records, folder)
        trial = with_data(record.config, folder.resolve().parent / stored_data(folder))
    check_inside(folder)
    used = brought_before(folder, use)
    space = load(folder / "resolved.yaml", use=[folder / u.stored for u in used])
    place = folder / "trials" / f"{record.number:05d}"
    cache = folder.resolve().parent / ".cache"
    saved = newest(place / "checkpoints", cache / "debug")
    begun = f"its newest checkpoint, at {saved['images']:,} images" if saved else "the beginning"
    say(f"{record.name} is {record.state}{f': {record.reason}' if record.reason else ''}")
    say(f"once more from {begun}; the ledger and its files stay as they are")
    training = None
    try:
        # PyTorch's own search for what is not a number takes twice the time.
        with torch.autograd.set_detect_anomaly(record.state == "diverged"):
            training = Training(Trial.read(trial), cache, threads=space.resources.cpu, saved=saved)
            for line in in_words(rest(training), training.evaluator.metric, place):
                say(line)
    except Exception as error:
        at = training.progress.images if training else 0
        say(f"at {at:,} images: {hide(told(error))}")
        say(f"the traceback is in {os.path.relpath(keep(error, folder, record, cache / 'debug'))}")
        if post_mortem:
            pdb.post_mortem(error.__traceback__)
        return False
    say(f"at {training.progress.images:,} images: it went well this time")
    return True


def newest(checkpoints: Path, drafts: Path) -> dict[str, Any] | None:
    """The newest sound state among a trial's checkpoints, looked for in a copy, since whoever finds
    a damaged one sets it aside."""
    drafts.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=drafts) as copy:
        for path in checkpoints.glob("*.pt"):
            shutil.copyfile(path, Path(copy) / path.name)
        return Checkpoints(Path(copy)).load(choose_device())


def rest(training: Training) -> Iterator[Measurement]:
    """What is left of a trial."""
    while not training.finished:
        yield training.advance()


def told(error: Exception) -> str:
    """What was raised, and by which line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({os.path.relpath(last.filename)}:{last.lineno})"


def keep(error: Exception, folder: Path, record: Record, logs: Path) -> Path:
    """Write the traceback of an error down."""
    log = logs / f"{folder.resolve().name}-{record.number:05d}.txt"
    log.write_text(hide("".join(traceback.format_exception(error))))
    return log
