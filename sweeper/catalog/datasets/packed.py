"""A store that was packed before."""

from __future__ import annotations

from sweeper.catalog.families import datasets


@datasets.register(provides={"images"})
class Packed:
    """A store in the format that sweeper packs images into, used where it lies."""

    def __init__(self, *, path: str) -> None:
        self.path = path
