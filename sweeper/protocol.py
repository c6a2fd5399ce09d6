"""The protocol of a number: all that it depends on beside the generator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any


class MixedError(ValueError):
    """Numbers of different protocols that were to be ranked together."""


@dataclass(frozen=True)
class Protocol:
    """How a Fréchet distance, and what is measured with it, came about.

    ``features`` names what examples are compared in and ``weights`` is the hash of its weights;
    ``data`` that of the data set, of whose ``split`` so many ``real`` examples of a ``shape`` are
    the reference; ``fake`` is how many samples are compared with it, from latents of a ``seed``;
    ``resize`` what happens to images on their way to the features, ``generator`` which weights are
    shown, and ``dtype`` the precision of the distance. ``metrics`` are measured beside it.
    """

    metric: str
    features: str
    weights: str
    data: str
    shape: tuple[int, ...]
    split: str
    real: int
    fake: int
    resize: str
    generator: str
    seed: int
    dtype: str
    metrics: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """The protocol as JSON-compatible data."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @cached_property
    def hash(self) -> str:
        """What stands beside every number: 12 hexadecimal digits."""
        written = json.dumps(self.plain(), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:12]


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """What differs between two protocols as plain data, in words; empty if nothing does."""
    keys = [*a, *(key for key in b if key not in a)]
    return ", ".join(
        f"{key} ({_shown(a.get(key))} and {_shown(b.get(key))})"
        for key in keys
        if a.get(key) != b.get(key)
    )


def same(protocols: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Raises MixedError, saying what differs, unless protocols, each with the name of what was
    measured under it, are one."""
    (first, one), *others = protocols
    for name, other in others:
        if differ := differences(one, other):
            law = "numbers are ranked under one protocol, but those of"
            raise MixedError(f"{law} {first} and {name} differ in {differ}")


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case [*items]:
            return ", ".join(map(str, items)) or "none"
    return str(value)
