"""How one array of one example is written down in a store: sealed with a hash of what it is, raw or
losslessly encoded."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from sweeper.catalog.datasets.example import Example

Codec = Literal["raw", "png", "webp"]

PIECE = 128
"""Examples that are packed, and whose labels are written, together."""
SEAL = 16
"""Bytes before every value: a hash of the array, and not of how it is encoded."""
MODES = {1: "L", 3: "RGB", 4: "RGBA"}

Value = bytes
Record = tuple[bytes, Value]
"""A key and its value, as LMDB takes them."""


@dataclass(frozen=True)
class Field:
    """One array that every example of a store holds: image, source, mask or style."""

    shape: tuple[int, ...]
    dtype: str
    codec: Codec = "raw"

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def value(self, array: np.ndarray) -> Value:
        """An array as it is stored."""
        data = np.ascontiguousarray(array).tobytes()
        return seal(data) + (data if self.codec == "raw" else encoded(array, self.codec))

    def array(self, value: Value | memoryview) -> np.ndarray:
        """What a value holds. Raises ValueError when it is not what was written."""
        kept, stored = bytes(value[:SEAL]), value[SEAL:]
        if self.codec == "raw":
            data: memoryview | Value = stored
        else:
            data = decoded(bytes(stored), self.codec, self.shape[0])
        if len(data) != self.bytes or seal(data) != kept:
            raise ValueError("its content is not what was packed")
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def field_of(array: np.ndarray, codec: Codec) -> Field:
    """How arrays like this one are stored: encoded if they are images, and else raw."""
    is_image = array.dtype == np.uint8 and array.ndim == 3 and array.shape[0] in MODES
    return Field(array.shape, str(array.dtype), codec if is_image else "raw")


def seal(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()[:SEAL]


def encoded(array: np.ndarray, codec: Codec) -> bytes:
    """An image, uint8 (1 | 3 | 4, H, W), as a file without loss."""
    pixels = array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if codec == "png":
        image.save(file, "PNG", compress_level=3)
    else:
        # WebP drops colours nobody sees, unless it is told to be exact.
        image.save(file, "WEBP", lossless=True, exact=True, quality=25)
    return file.getvalue()


def decoded(file: bytes, codec: Codec, channels: int) -> bytes:
    """The levels of an encoded image, in the order of its array. Raises ValueError if there are
    none."""
    try:
        with Image.open(io.BytesIO(file), formats=[codec.upper()]) as image:
            pixels = np.asarray(image.convert(MODES[channels]))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"it cannot be decoded: {error}") from None
    return pixels.tobytes() if pixels.ndim == 2 else pixels.transpose(2, 0, 1).tobytes()


def key(field: str, index: int) -> bytes:
    """The key of an array, or of the labels of a piece."""
    return f"{field}/{index:010d}".encode()


def records(
    fields: Mapping[str, Field], classes: int, first: int, examples: list[Example]
) -> Iterator[Record]:
    """The records of a piece, of which ``first`` is the first example. Raises ValueError for an
    example that is not as the others."""
    for index, example in enumerate(examples, first):
        arrays = example.arrays()
        for name in dict.fromkeys((*fields, *arrays)):
            like, array = fields.get(name), arrays.get(name)
            first_has = None if like is None else (like.shape, like.dtype)
            found = None if array is None else (array.shape, str(array.dtype))
            if like is None or array is None or found != first_has:
                raise ValueError(
                    "all examples hold the same arrays as the first, of the same shapes, but "
                    f"example {index} has {_said(found)} for its {name}, and the first "
                    f"{_said(first_has)}"
                )
            yield key(name, index), like.value(array)
        if classes and (example.label is None or not 0 <= example.label < classes):
            raise ValueError(
                f"a label is one of 0 to {classes - 1}, but that of example {index} is "
                f"{example.label}"
            )
    if classes:
        labels = np.asarray([example.label for example in examples], np.int64)
        yield key("label", first), Field(labels.shape, "int64").value(labels)


def _said(found: tuple[tuple[int, ...], str] | None) -> str:
    return "nothing" if found is None else f"{found[1]} {found[0]}"
