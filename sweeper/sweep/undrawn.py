"""Whether pictures of a sweep are to be drawn: asked before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path

FOLDER = "pictures"
"""Where a results folder keeps them."""


def undrawn(folder: Path) -> bool:
    """Whether there are checkpoints to draw from, and no pictures yet."""
    drawn = (folder / FOLDER).is_dir()
    return not drawn and any(folder.glob("trials/*/checkpoints/*.pt"))
