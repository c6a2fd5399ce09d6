"""Which data set a word on the command line stands for."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from sweeper.catalog.datasets.torchvision import KNOWN, ROOT
from sweeper.catalog.families import datasets
from sweeper.registry import nearest

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def source_for(word: str, start: Path) -> dict[str, Any]:
    """The data set of a trial that a word stands for: one of the catalog's that needs no more than
    its name, one of torchvision's, whose files are in ``data`` below ``start``, or a path from
    there. Raises ValueError, with what is accepted, for anything else.

    A folder that is not empty goes before a data set of its name.
    """
    named = [name for name, entry in datasets.items() if not _required(entry.knobs)]
    try:
        path = (start / Path(word).expanduser()).resolve()
        if not (path.is_dir() and any(path.iterdir())):
            if word in named:
                return {word: {}}
            if word in KNOWN:
                return {"torchvision": {"name": word, "root": str((start / ROOT).resolve())}}
        kind = kind_of(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: a home that there is not
        raise ValueError(f"--data can be read, but {word!r} cannot: {error}") from error
    if kind is not None:
        return {kind: {"path": str(path)}}
    close = nearest(word, [*named, *KNOWN])
    hint = f"; did you mean {close!r}?" if close else ""
    raise ValueError(
        f"--data is {', '.join(named)}, a set of torchvision's ({', '.join(KNOWN)}), a folder of "
        f"images, a zip or tar file of them, a Parquet file or a folder of those, or a packed "
        f"store, but got {word!r}{hint}"
    )


def kind_of(path: Path) -> str | None:
    """The entry that reads what is at a path, by what it holds; None if there is no such."""
    if path.is_dir():
        if (path / "meta.json").is_file() and (path / "data.mdb").is_file():
            return "packed"
        return "folder" if next(path.rglob("*.parquet"), None) is None else "parquet"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
    if zipfile.is_zipfile(path) or path.name.lower().endswith(TARS):
        return "archive"
    return None


def _required(knobs: Any) -> bool:
    return any(info.is_required() for info in knobs.model_fields.values())
