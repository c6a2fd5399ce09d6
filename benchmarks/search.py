#!/usr/bin/env python
"""What a search finds, and what it costs, on a table of trials that were recorded once.

    OMP_NUM_THREADS=1 benchmarks/search.py record --workers 1

trains every configuration of the table, the first 256 points of a Sobol sequence over
``search.yaml`` beside this file, in full on four seeds each: 1,024 trials on digits, each of which
takes 4 s of one core. A row of ``table.parquet`` is an evaluation: of which ``trial``, ``config``
and ``seed``, after how many ``images`` and ``seconds`` of CPU time, its ``score``, the ``best`` so
far and, at the end, the ``heldout`` score of that; and the ``state`` that the trial ended in.
A diverged trial has a last row without a score. Parameters are columns ``param.PATH``, null in
branches that were not chosen. Whoever records on continues after the last trial that is there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SPACE = HERE / "search.yaml"
TABLE = HERE.parent / "results" / "reference" / "search" / "table.parquet"
SAVED_EVERY = 8
"""Trials between two writings of the table."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Paragraphs)
    commands = parser.add_subparsers(required=True)
    recorder = commands.add_parser("record", help="train the trials of the table")
    recorder.add_argument("--configurations", type=int, default=256)
    recorder.add_argument("--seeds", type=int, default=4)
    recorder.add_argument("--workers", type=int, default=1)
    recorder.add_argument("--table", type=Path, default=TABLE)
    recorder.add_argument("--cache", type=Path, default=HERE.parent / "results")
    recorder.set_defaults(command=record)
    asked = parser.parse_args()
    asked.command(asked)


class Paragraphs(argparse.RawDescriptionHelpFormatter):
    """Shows a description as it is written."""


def record(asked: argparse.Namespace) -> None:
    """Train what is not in the table yet: all configurations on one seed, then on the next."""
    from sweeper.sweep.plan import Settings, prepare

    plan = prepare(Settings(SPACE, "digits", out=asked.cache))
    points = list(configurations(plan, asked.configurations))
    about = described([trial.plain() for _, trial in points], plan)
    rows = recorded(asked.table, about)
    there = {row["trial"] for row in rows}
    jobs = [
        (run * len(points) + config, config, params, seeded(trial, run, config), str(plan.cache))
        for run in range(asked.seeds)
        for config, (params, trial) in enumerate(points)
    ]
    left = [job for job in jobs if job[0] not in there]
    done, begun = 0, time.monotonic()
    with multiprocessing.get_context("spawn").Pool(asked.workers) as workers:
        for found in workers.imap_unordered(measured, left):
            rows += found
            done += 1
            if done % SAVED_EVERY == 0 or done == len(left):
                write(asked.table, rows, about)
            each = (time.monotonic() - begun) / done
            last = found[-1]
            print(
                f"{len(there) + done} of {len(jobs)}: trial {last['trial']} {last['state']}, "
                f"best {last['best']:.4g}, {last['seconds']:.1f} s; "
                f"{each * (len(left) - done) / 60:.0f} minutes left",
                flush=True,
            )


def configurations(plan: Any, n: int) -> Iterator[tuple[Row, Any]]:
    """The first points of the sequence that fit, as parameters and trials."""
    from sweeper.config import Misfit
    from sweeper.space.points import sobol

    found = 0
    for point in sobol(plan.space.tree, plan.seed):
        if found == n:
            return
        try:
            trial = plan.space.sample(point)
            plan.probe(trial)
        except Misfit:
            continue
        found += 1
        yield point.params, trial


def seeded(trial: Any, run: int, config: int) -> Row:
    """A trial as plain data, on a seed that no other has."""
    from sweeper.game import derive

    seed = derive(0, "search", run, config) % (1 << 31)
    return dict(trial.model_copy(update={"seed": seed}).plain())


def measured(job: tuple[int, int, Row, Row, str]) -> list[Row]:
    """The rows of a trial, which is trained here."""
    from sweeper.config import Trial
    from sweeper.ledger.ledger import failing
    from sweeper.trial.loop import Diverged, train

    number, config, params, plain, cache = job
    begun, rows, state = time.process_time(), list[Row](), "completed"
    fixed = {"trial": number, "config": config, "seed": plain["seed"]}
    fixed |= {f"param.{name}": value for name, value in params.items()}
    try:
        for m in train(Trial.read(plain), Path(cache)):
            values = {"score": m.score, "best": m.best, "heldout": m.heldout}
            rows.append(fixed | timed(m.images, begun) | values)
            if failing(m.plain()):
                state = "diagnosed"
                break
    except Diverged as error:
        best = rows[-1]["best"] if rows else float("nan")
        values = {"score": None, "best": best, "heldout": None}
        rows.append(fixed | timed(error.images, begun) | values)
        state = "diverged"
    return [{**row, "state": state} for row in rows]


def timed(images: int, begun: float) -> Row:
    return {"images": images, "seconds": round(time.process_time() - begun, 3)}


def described(trials: Sequence[Row], plan: Any) -> Row:
    """What a table is of, which stands in its file."""
    import torch

    return {
        "trials": hashlib.sha256(json.dumps(trials).encode()).hexdigest()[:12],
        "protocols": f"{plan.protocol.hash} {plan.full_protocol.hash}",
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def recorded(table: Path, about: Row) -> list[Row]:
    """The rows that a table holds, if there is one; of trials that are measured alike."""
    import pyarrow.parquet as pq

    if not table.exists():
        return []
    found = pq.read_table(table)
    was = {k.decode(): v.decode() for k, v in (found.schema.metadata or {}).items()}
    for key in ("trials", "protocols"):
        if was.get(key) != about[key]:
            law = f"a table is of the same {key} throughout, but {table} is of {was.get(key)}"
            raise SystemExit(f"{law} and these would be {about[key]}")
    return list(found.to_pylist())


def rows_of(table: Path) -> list[Row]:
    """The rows of any table."""
    import pyarrow.parquet as pq

    return list(pq.read_table(table).to_pylist())


def write(
    table: Path, rows: Sequence[Row], about: Row, by: Sequence[str] = ("trial", "images")
) -> None:
    """Write a table as a whole, sorted by some columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    ordered = sorted(rows, key=lambda row: [row[name] for name in by])
    columns = {name: [row.get(name) for row in ordered] for name in names}
    table.parent.mkdir(parents=True, exist_ok=True)
    draft = table.with_suffix(".tmp")
    pq.write_table(pa.table(columns).replace_schema_metadata(about), draft, compression="zstd")
    draft.replace(table)


if __name__ == "__main__":
    main()
