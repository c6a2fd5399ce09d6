"""A results folder may come from anybody, and must not lead out of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sweeper.ledger.ledger import LedgerError


def check_links(folder: Path) -> None:
    """Raise LedgerError if a link somewhere in a results folder leads out of it, where what is
    written would go. The folder itself may be one."""
    root = folder.resolve()
    for link in links(root):
        aim = link.resolve()
        if not aim.is_relative_to(root):
            law = "a results folder holds its own files"
            raise LedgerError(f"{law}, but {folder / link.relative_to(root)} leads to {aim}")


def links(folder: Path) -> Iterator[Path]:
    """Every symbolic link in a folder. None is followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                yield from links(Path(entry.path))
