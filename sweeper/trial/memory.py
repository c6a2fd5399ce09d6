"""What becomes of the memory that a tensor leaves."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's ``mallopt`` calls how much is kept that could be given back, and how large a block
is that is the system's own."""
LARGEST, ALL = 32 * 2**20, 2**31 - 1
"""The most that each may be."""


@functools.cache
def keep_freed() -> None:
    """Keep memory that is freed for what is allocated next. As it comes, glibc gives back the
    activations of every step, and the system clears them anew, page by page, for the next one.
    Other C libraries are left as they are."""
    if (set_option := found("mallopt")) is not None:
        set_option(MMAP_THRESHOLD, LARGEST)
        set_option(TRIM_THRESHOLD, ALL)


def give_back() -> None:
    """Give the system all memory that is kept and free."""
    if (trim := found("malloc_trim")) is not None:
        trim(0)


def found(name: str) -> Callable[..., int] | None:
    """A function of the C library, which only glibc may have."""
    return getattr(ctypes.CDLL(None), name, None)
