"""Tensors in a file, as the safetensors format has them: nothing in it is code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LONGEST = 100_000_000
"""Bytes that a header may have; the format says so."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write tensors by name, and what is told ``about`` them, whole or not at all.

    The file is eight bytes, little-endian, that say how long the header is; the header, JSON with
    each tensor's dtype, shape and place; and the tensors' numbers, one after another.
    """
    header: dict[str, Any] = {"__metadata__": dict(about)}
    parts, end = list[bytes](), 0
    for name, tensor in sorted(tensors.items()):
        part = raw(tensor)
        place = [end, end := end + len(part)]
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": place,
        }
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the numbers are aligned
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(b"".join((len(text).to_bytes(8, "little"), text, *parts)))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def raw(tensor: Tensor) -> bytes:
    """A tensor's numbers, row by row."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, and what it tells about them. Raises ValueError for a file
    that is not in the format, and OSError."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        if len(data) < 8 + size or size > LONGEST:
            raise ValueError
        header = json.loads(data[8 : 8 + size])
        about = header.pop("__metadata__", {})
        body = memoryview(data)[8 + size :]
        return {name: tensor_of(found, body) for name, found in header.items()}, about
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        raise ValueError(f"tensors are in the safetensors format, but {path} is not") from None


def tensor_of(found: Mapping[str, Any], body: memoryview) -> Tensor:
    """One tensor of a file. Raises ValueError if its place does not fit its shape."""
    dtype, (start, end) = DTYPES[found["dtype"]], found["data_offsets"]
    if not 0 <= start <= end <= len(body):
        raise ValueError
    shape = list(found["shape"])
    if start == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(body[start:end]), dtype=dtype).reshape(shape)
