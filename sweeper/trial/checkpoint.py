"""Checkpoints: written whole or not at all, checked when read, the newest sound one wins."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import pickle
import secrets
from pathlib import Path
from typing import Any

import torch

KEEP = 2

log = logging.getLogger("sweeper")


class Checkpoints:
    """The checkpoints of one trial, each named by the images it was taken at and a hash of its
    bytes. The best generator so far is in each, so that the newest one has the best and the last.

    Several processes may write to one folder when one of them is taken for dead and is not. They
    never overwrite each other, since a name is a hash of what is in it; and each of them removes
    only what it found at its start, or wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mine = set(self.paths())

    def save(self, images: int, state: dict[str, Any]) -> Path:
        """Write a state durably, then forget all of ours but the newest two. Raises OSError, with
        everything as it was, when it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getbuffer()
        path = self.folder / f"{images:012d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
        draft = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _durable(self.folder)
        self.mine.add(path)
        for old in sorted(self.mine, reverse=True)[KEEP:]:
            old.unlink(missing_ok=True)
            self.mine.remove(old)
        return path

    def paths(self) -> list[Path]:
        """Checkpoints, newest first."""
        return sorted(self.folder.glob("*-*.pt"), reverse=True)

    def tidy(self) -> None:
        """Remove drafts that nobody will finish. For the one who goes on with the trial: of two
        processes that write here, the other one is cut off."""
        for draft in self.folder.glob("*.tmp"):
            draft.unlink(missing_ok=True)

    def load(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The newest state whose bytes are what was written, on a device, whichever it was on when
        it was written. A damaged file is set aside as ``*.bad``; one that cannot be read is passed
        over."""
        for path in self.paths():
            try:
                return read(path, device)
            except FileNotFoundError:
                continue  # whoever trains the trial has a newer one, and forgot this
            except OSError as error:
                log.warning("%s cannot be read, the one before is taken: %s", path, error.strerror)
            except ValueError as error:
                log.warning("%s is set aside, the one before is taken: %s", path, error)
                with contextlib.suppress(OSError):  # a reader may have no right to, and need not
                    path.rename(path.with_suffix(".bad"))
            self.mine.discard(path)
        return None


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint's state. Raises OSError, and ValueError for what is not as it was written."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest()[:16] != path.stem.partition("-")[2]:
        raise ValueError("its bytes are not those that its name tells of")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"it is no state of a trial: {str(error).partition('.')[0]}") from None
    return state


def _durable(folder: Path) -> None:
    """Have a rename survive a loss of power, as far as the file system goes along."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
