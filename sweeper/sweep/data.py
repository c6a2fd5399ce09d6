"""The commands that make, describe and check stores."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sweeper.catalog.datasets.check import check
from sweeper.catalog.datasets.choose import source_for
from sweeper.catalog.datasets.draft import identity, write
from sweeper.catalog.datasets.example import Source
from sweeper.catalog.datasets.files import ImageFiles
from sweeper.catalog.datasets.records import Codec
from sweeper.catalog.datasets.store import Meta, Store
from sweeper.catalog.families import datasets
from sweeper.config import Misfit, Pick, Problem, Slot
from sweeper.space.source import InputError

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be packed, and how; None is what the source has anyway."""

    source: str
    size: int | None = None
    channels: int | None = None
    resize: str | None = None
    codec: Codec = "raw"


def wanted(
    source: str, size: int | None, channels: int | None, resize: str | None, codec: str
) -> Wanted:
    """An order to pack. Raises InputError for a codec that there is not."""
    known: dict[str, Codec] = {name: name for name in get_args(Codec)}
    if codec not in known:
        raise InputError([f"--codec is {', '.join(known)}, but got {codec!r}"])
    return Wanted(source, size, channels, resize, known[codec])


def pack(wanted: Wanted, output: Path | None) -> Iterator[str]:
    """Pack a source into a store, which is called after it if nobody says how. Raises InputError
    for what cannot be read, or would be overwritten."""
    try:
        source = source_of(wanted)
        output = output or Path(f"{source.name}.store")
        whole = identity(source, wanted.codec)
        if output.exists() and not (output / "meta.json").is_file():
            raise ValueError(f"-o is where a new store is to be, but {output} exists")
        if output.exists() and Meta.read(output).source != whole:
            raise ValueError(
                f"-o is where a new store is to be, but {output} is a store of other data, or of "
                "the same made in another way"
            )
        with bar("packing") as advance:
            write(source, output, wanted.codec, advance)
    except Misfit as misfit:
        raise InputError(map(hinted, misfit.problems)) from None
    except (ValueError, OSError) as error:
        raise InputError([str(error)]) from None
    store = Store(output)
    yield f"packed {wanted.source}: {holds(store.meta)}, {decimal(store.meta.bytes)}"
    where = shlex.quote(os.path.relpath(output))
    yield f"use it with --data {where}; see what that means:"
    yield f"  sweeper plan search_spaces/ttur.yaml --data {where}"


def hinted(problem: Problem) -> str:
    return f"{problem}; did you mean {problem.hint!r}?" if problem.hint else str(problem)


def source_of(wanted: Wanted) -> Source:
    """The source that a word on the command line stands for. Raises ValueError."""
    try:
        ((name, given),) = source_for(wanted.source, Path()).items()
    except ValueError as error:
        raise ValueError(str(error).replace("--data is", "SOURCE is", 1)) from None
    if name == "packed":
        raise ValueError(f"SOURCE is what is yet to be packed, but {wanted.source} is a store")
    asked = {
        knob: value
        for knob in ("size", "channels", "resize")
        if (value := getattr(wanted, knob)) is not None
    }
    if unknown := sorted(asked.keys() - datasets[name].own):
        raise ValueError(f"{name} has no --{unknown[0]}: its images are made in one way")
    made = made_of({name: given | asked})
    if isinstance(made, ImageFiles) and not asked.keys() & {"size", "resize"}:
        made = made_of({name: given | asked | {"size": made.side()}})
    return made


def made_of(tree: dict[str, Any]) -> Source:
    """The data set that a tree names. Raises Misfit and ValueError."""
    pick = Slot(datasets).read(tree)
    assert isinstance(pick, Pick)
    made: Source = pick.make()
    return made


def info(path: Path, *, as_json: bool) -> str:
    """What a store says of itself. Raises InputError when there is none."""
    try:
        meta = Meta.read(path)
    except ValueError as error:
        raise InputError([str(error)]) from None
    plain = json.loads((path / "meta.json").read_text())
    return json.dumps(plain, indent=2) if as_json else "\n".join(lines(meta))


def holds(meta: Meta) -> str:
    """What is in a store, in a phrase."""
    shape = " x ".join(map(str, meta.shape))
    classes = f" in {meta.classes:,} classes" if meta.classes else ""
    return f"{meta.length:,} examples of {shape}{classes}"


def lines(meta: Meta) -> Iterator[str]:
    yield f"{meta.name}: {holds(meta)}"
    for name, held in meta.fields.items():
        yield f"  {name:10}{held.dtype} {' x '.join(map(str, held.shape))}, {held.codec}"
    if meta.class_names:
        some = ", ".join(meta.class_names[:12])
        yield f"  {'classes':10}{some}{', …' if meta.classes > 12 else ''}"
    for name, value in meta.recipe.items():
        yield f"  {name:10}{str(value).lower() if isinstance(value, bool) else value}"
    yield f"  {'size':10}{decimal(meta.bytes)}"
    yield f"  {'digest':10}{meta.digest}"
    yield f"  {'format':10}{meta.format}"


def look(path: Path) -> Iterator[str]:
    """Everything that is wrong with a store. Raises InputError when there is none."""
    try:
        with bar("checking") as advance:
            yield from check(path, advance)
    except ValueError as error:
        raise InputError([str(error)]) from None


@contextmanager
def bar(what: str) -> Iterator[Advance]:
    """Show how far long work is, on standard error: a bar on a terminal, or a line for every
    tenth."""
    if not sys.stderr.isatty():
        yield Tenths(what)
        return
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


class Tenths:
    """Prints a line for every tenth that is done."""

    def __init__(self, what: str) -> None:
        self.what, self.said = what, -1

    def __call__(self, done: int, total: int) -> None:
        if (tenth := 10 * done // total) > self.said:
            self.said = tenth
            print(f"{self.what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
