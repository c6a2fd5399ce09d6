"""Generators that were exported, opened without anything that runs sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweeper.space.source import InputError
from sweeper.space.use import bring
from sweeper.trial.portable import Sampler, read_generator


def generator(file: str | Path, *, use: Sequence[str | Path] = ()) -> Sampler:
    """The generator that ``sweeper export --best`` wrote: a torch module that maps latents to
    images. ``use`` are files of techniques that it was made with. Raises InputError."""
    bring(map(Path, use))
    try:
        return read_generator(Path(file))
    except (ValueError, OSError) as error:
        raise InputError([f"{file}: {error}"]) from None
