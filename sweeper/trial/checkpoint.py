"""Checkpoints: written whole or not at all, checked when read, the newest sound one wins."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

KEEP = 2


class Checkpoints:
    """The checkpoints of one trial, each named by the images it was taken at and a hash of its
    bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, images: int, state: dict[str, Any]) -> Path:
        """Write a state durably, then forget all but the newest two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
        path = self.folder / f"{images:012d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        for old in self.paths()[KEEP:]:
            old.unlink(missing_ok=True)
        return path

    def paths(self) -> list[Path]:
        """Checkpoints, newest first."""
        return sorted(self.folder.glob("*-*.pt"), reverse=True)

    def load(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The newest state whose bytes are what was written; a damaged file is set aside as
        ``*.bad``."""
        for path in self.paths():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest()[:16] == path.stem.partition("-")[2]:
                state: dict[str, Any] = torch.load(
                    io.BytesIO(data), map_location=device, weights_only=True
                )
                return state
            path.rename(path.with_suffix(".bad"))
        return None
