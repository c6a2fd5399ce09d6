"""Why a trial did not come to its end, told apart: what to do about it, and how often it is tried
again."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from sweeper.ledger.ledger import Record
from sweeper.space.document import Retries

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "worker": "its log tells how far it came; where memory is short, the largest is killed",
        "node": "nothing to do: a lost machine costs no more than one checkpoint interval",
        "exception": "the traceback is in its log; --debug trains it round by round",
        "oom": "a smaller batch, a larger resources.gpu, or fewer trials at a time",
        "storage": "make room where results are written, and see that every node can write there",
        "timeout": "a larger limits.trial_minutes, or a smaller evaluation.every_kimg",
        "nan": "a lower learning rate, or a penalty on the gradients of D",
        "diagnosis": "what the diagnostic proposes",
    }
)
"""A line on what helps, by cause."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
BROKEN = frozenset(
    {errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN}
)
NO_ROOM = ("no space left on device", "disk quota exceeded", "database or disk is full")
NO_STORAGE = ("disk i/o error", "input/output error", "stale file handle", "read-only file system")
NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "cublas_status_alloc_failed",
    "running low on memory",
)
"""What libraries say, in lower case, that raise plain errors when memory has run out."""


class TimedOut(BaseException):
    """A trial came to no measurement in its time. No Exception, lest the trial swallow it."""


class Cut(Exception):  # noqa: N818  (an end of the sweep's process, not a fault of the program)
    """The sweep was told to stop while it waited for room to write what had happened."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and all that it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def full(error: BaseException) -> bool:
    """Whether an error comes of a disk, or a quota, that is full."""
    return any(
        (isinstance(e, OSError) and e.errno in FULL) or no_room(str(e)) for e in chain(error)
    )


def no_room(reason: str) -> bool:
    """Whether the words of an error say that a disk, or a quota, is full."""
    return any(phrase in reason.lower() for phrase in NO_ROOM)


def cause_of(error: BaseException) -> str:
    """What a trial's error comes of: ``oom``, ``storage``, ``timeout``, ``worker`` or, of all
    else, ``exception``."""
    if isinstance(error, TimedOut):
        return "timeout"
    if full(error) or any(storage(e) for e in chain(error)):
        return "storage"
    if any(memory(e) for e in chain(error)):
        return "oom"
    # Of the processes that train a trial together, one died under the others.
    return "worker" if named(error, "RankLostError") else "exception"


def memory(error: BaseException) -> bool:
    # By name, since torch and Ray, each of which has one of its own, are heavy to import.
    if isinstance(error, MemoryError) or named(error, "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError | OSError) and says(error, NO_MEMORY)


def storage(error: BaseException) -> bool:
    if named(error, "StorageError"):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in BROKEN
    return named(error, "DatabaseError") and says(error, NO_STORAGE)


def named(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def says(error: BaseException, phrases: tuple[str, ...]) -> bool:
    return any(phrase in str(error).lower() for phrase in phrases)


def again(record: Record, cause: str, retries: Retries) -> bool:
    """Whether a trial is begun again after this cause. Lost machines and full disks are no fault of
    a trial, and are never counted."""
    return cause in ("node", "storage") or record.losses[cause] < getattr(retries, cause, 0)


def share(base: float, record: Record) -> float:
    """The share of a GPU that a trial is given: doubled, up to a whole one, each time that memory
    ran out."""
    if base >= 1:
        return base
    return min(1.0, math.ldexp(base, record.losses["oom"]))


def explained(record: Record) -> str:
    """Why a trial has ended, in words; if it failed, of what cause, and what helps."""
    said = record.last.data if record.last is not None and record.state == "failed" else {}
    if "cause" not in said:
        return record.reason or ""
    return f"{said['cause']}: {record.reason}; {said['advice']}"
