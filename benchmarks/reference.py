#!/usr/bin/env python
"""Sweeps whose results are kept under results/reference/, and what they come to.

    OMP_NUM_THREADS=1 benchmarks/reference.py losses_digits lin2018_ring

runs these sweeps, one trial after another, in ``results/``, or goes on with them, and keeps of each
the space, the plan, the tables and the report. ``--list`` shows all of them with their commands;
``--keep`` runs nothing, and keeps what is there of those that have ended. README.md beside them is
written anew: what each sweep is, the command, seed and machine that made it, and what it found.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "results" / "reference"
FILES = ("space.yaml", "sweep.json", "trials.parquet", "measurements.parquet", "report.html")
INTRODUCTION = """# Reference results

Sweeps as they were run, with their tables and reports, so that yours can be compared with them.
Every one was run with `--seed 0` on the machine that its line names, without a GPU; a budget below
the space's own is in the command. What a pack of `search_spaces/papers/` has less of than its
paper, all of them being reduced, is said in its header. `benchmarks/reference.py NAME` runs one
again.
"""

_PAPERS = "search_spaces/papers"
_GLYPHS = "--data glyphs --trials 16 --set budget.max=4.5 --set confirm.top=2"
RUNS = {
    "losses_digits": "search_spaces/losses.yaml --data digits",
    "losses_glyphs": f"search_spaces/losses.yaml {_GLYPHS}",
    "tricks_digits": "search_spaces/tricks.yaml --data digits",
    "tricks_glyphs": f"search_spaces/tricks.yaml {_GLYPHS}",
    "lin2018_ring": f"{_PAPERS}/lin2018_ring.yaml",
    "lin2018_grid": f"{_PAPERS}/lin2018_grid.yaml",
    "lin2018_stacked": f"{_PAPERS}/lin2018_stacked.yaml",
    # The six models as their authors set them, at a hundredth of the paper's steps.
    "lucic2018_wide": f"{_PAPERS}/lucic2018_wide.yaml --set search.trials=6 --set search.seeds=10 "
    "--set confirm.top=0 --set architecture.dcgan.channels=8 --set batch.size=32 "
    "--set budget.max=12",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="show the names and their commands")
    parser.add_argument("--keep", action="store_true", help="run nothing, keep what has ended")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="where sweeps are")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name}\t{command(name)}" for name in RUNS))
        return
    for name in asked.names or RUNS:
        folder = asked.out / name
        if not asked.keep:
            run(name, folder)
        if ended(folder):
            keep(folder, KEPT / name)
    (KEPT / "README.md").write_text("\n".join([INTRODUCTION, *index()]) + "\n")


def command(name: str) -> str:
    return f"sweeper run {RUNS[name]} --seed 0 --inline --name {name}"


def run(name: str, folder: Path) -> None:
    """Run a sweep to its end, or what is left of it."""
    words = ["resume", str(folder), "--inline"]
    if not folder.exists():
        words = shlex.split(command(name))[1:]
        if folder.parent != ROOT / "results":  # which is where sweeps are anyway
            words += ["--out", str(folder.parent)]
    subprocess.run([sys.executable, "-m", "sweeper.cli", *words], cwd=ROOT, check=True)


def ended(folder: Path) -> bool:
    from sweeper.ledger.ledger import Ledger
    from sweeper.sweep.board import Board

    if not (folder / "sweep.json").is_file():
        return False
    with Ledger(folder, write=False) as ledger:
        return Board(json.loads((folder / "sweep.json").read_text()), ledger).complete


def keep(folder: Path, into: Path) -> None:
    """Copy what is read of a sweep, and draw its report anew."""
    from sweeper.report.page import write_report

    write_report(folder)
    into.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copyfile(folder / file, into / file)


def index() -> Iterator[str]:
    """A section for each sweep that was kept."""
    from sweeper.ledger.confirmed import sentences
    from sweeper.report.published import tables
    from sweeper.report.ranking import load

    for name in RUNS:
        if not (KEPT / name / "sweep.json").is_file():
            continue
        sweep = load(KEPT / name)
        plan = sweep.plan
        yield f"## [{name}]({name}/report.html)\n\n    {command(name)}\n"
        about = plan.get("environment") or {}
        made = ", ".join(f"{what} {value}" for what, value in about.items() if value is not None)
        cost = sum(trial["seconds"] or 0.0 for trial in sweep.trials) / 3600
        yield f"{len(sweep.trials)} trials in {cost:.1f} hours of one core" + (
            f" ({made}).\n" if made else ".\n"
        )
        found = sweep.confirmed
        said = sentences(found, plan["metric"]) if found is not None else []
        said += [f"{t.data}, {t.metric}: {t.says}." for t in tables(sweep) if t.tau is not None]
        yield "\n".join(f"- {sentence}" for sentence in said) + "\n"


if __name__ == "__main__":
    main()
