"""One example of a data set, and where examples come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

ARRAYS = ("image", "source", "mask", "style")
"""What an example may hold beside its label, in the order in which it is stored."""


@dataclass(frozen=True, slots=True)
class Example:
    """One example before it is packed: an image, uint8 (C, H, W), or a point, float32 (K,); its
    class, if it has one; and, for networks that turn one image into another, what G is given.

    ``source`` is the image that ``image`` is to be made from, ``mask``, uint8 (M, H, W), where
    something is: 255 inside and 0 outside, and ``style`` an image whose style is to be taken.
    """

    image: np.ndarray
    label: int | None = None
    source: np.ndarray | None = None
    mask: np.ndarray | None = None
    style: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """What there is of it, by name."""
        return {name: held for name in ARRAYS if (held := getattr(self, name)) is not None}


class Source(Protocol):
    """A data set before it is packed. Its examples are read by index, in any order and by several
    processes at once, into which it is pickled; all hold the same arrays of the same shapes."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; empty where there are none."""
        ...

    @property
    def recipe(self) -> Mapping[str, str | int | bool]:
        """How images were made from files, as far as it changes them: resize, antialiasing."""
        ...

    @property
    def unpaired(self) -> bool:
        """Whether source and image belong together by chance alone, as in two domains."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever the examples may have changed; cheap next to reading them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """Raises ValueError, naming it, for one that cannot be read."""
        ...


class Synthetic:
    """What holds of every data set that no file is read for."""

    recipe: Mapping[str, str | int | bool] = {}
    unpaired = False
