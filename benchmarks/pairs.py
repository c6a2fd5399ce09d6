"""Measuring things side by side, in turns, in one run: what every benchmark here shares.

Wall-clock numbers depend on the machine and on what else runs there. Ratios of things that were
measured in turns depend on it far less, so these are what is stored.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Numbers = npt.NDArray[np.float64]
RESAMPLED = 10_000


@dataclass(frozen=True)
class Row:
    """How many times as fast, or as small, ``ours`` is as ``theirs``: above 1 is better, over so
    many blocks, with a 95 % interval. ``at_least`` is what we promise of it."""

    part: str
    case: str
    theirs: str
    ratio: float
    lower: float
    upper: float
    blocks: int
    at_least: float | None
    ours_seconds: float
    theirs_seconds: float
    protocol: str

    @property
    def holds(self) -> bool | None:
        """Whether the promise is kept."""
        return None if self.at_least is None else self.ratio >= self.at_least


@dataclass(frozen=True)
class Times:
    """Seconds of each of several things, a row a block."""

    names: tuple[str, ...]
    seconds: Numbers

    def row(
        self,
        ours: str,
        theirs: str,
        *,
        part: str,
        case: str,
        protocol: str,
        at_least: float | None = None,
    ) -> Row:
        """What the blocks say of two of them: the median ratio, and its interval by bootstrap."""
        a, b = (self.seconds[:, self.names.index(name)] for name in (ours, theirs))
        ratios = b / a
        lower, upper = interval(ratios)
        return Row(
            part,
            case,
            theirs,
            float(np.median(ratios)),
            lower,
            upper,
            len(ratios),
            at_least,
            float(np.median(a)),
            float(np.median(b)),
            protocol,
        )


def interval(values: Numbers) -> tuple[float, float]:
    """A 95 % interval of the median, by bootstrap over blocks."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLED, len(values)))
    lower, upper = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(lower), float(upper)


def in_turns(
    steps: Mapping[str, Callable[[], object]],
    blocks: int,
    clock: Callable[[], float] = time.process_time,
) -> Times:
    """Time each step once forwards and once backwards in every block (A B B A), after one round
    that does not count. The clock is this process's CPU time, unless another is named."""
    names = tuple(steps)
    for step in steps.values():
        step()
    seconds = np.zeros((blocks, len(names)))
    for block in range(blocks):
        for i in (*range(len(names)), *reversed(range(len(names)))):
            begun = clock()
            steps[names[i]]()
            seconds[block, i] += clock() - begun
        print(f"\r  block {block + 1} of {blocks}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return Times(names, seconds)


def told(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown."""
    lines = [
        "| part | case | beside | times as fast (95 %) | blocks | promised | ours, theirs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        promised = "" if row.at_least is None else f"{row.at_least:g}{'' if row.holds else ' ✗'}"
        lines.append(
            f"| {row.part} | {row.case} | {row.theirs} | {row.ratio:.3g} "
            f"({row.lower:.3g} to {row.upper:.3g}) | {row.blocks} | {promised} | "
            f"{row.ours_seconds:.3g} s, {row.theirs_seconds:.3g} s |"
        )
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    versions = {name: metadata.version(name) for name in ("torch", "ray", "optuna", "mlflow")}
    python = platform.python_version()
    return {"cpu": model, "cores": f"{os.cpu_count()}", "python": python, **versions}


def store(rows: Sequence[Row], folder: Path, command: str, seconds: float) -> None:
    """Keep the rows of a part as Parquet, with the command, the machine and its load; and all parts
    that the folder has as one page of Markdown."""
    (part,) = {row.part for row in rows}
    about = {"command": command, "minutes": f"{seconds / 60:.0f}", "date": f"{date.today()}"}
    about |= {**machine(), "load": f"{os.getloadavg()[2]:.1f}"}
    table = pa.Table.from_pylist([asdict(row) for row in rows])
    table = table.replace_schema_metadata(about)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{part}.parquet")
    pages = [page(pq.read_table(file)) for file in sorted(folder.glob("*.parquet"))]
    (folder / "README.md").write_text("\n".join(["# Ratios\n", *pages]))


def page(table: pa.Table) -> str:
    """A part as Markdown: how, on what and when it was measured, and what came of it."""
    rows = [Row(**plain) for plain in table.to_pylist()]
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    command = about.pop("command")
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    protocols = "\n".join(f"- {protocol}" for protocol in dict.fromkeys(r.protocol for r in rows))
    return f"## {rows[0].part}\n\n`{command}` ({described}).\n\n{told(rows)}\n\n{protocols}\n"
