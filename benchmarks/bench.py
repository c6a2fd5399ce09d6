#!/usr/bin/env python
"""Every ratio that sweeper promises, measured in one run and stored: ``make bench``.

    benchmarks/bench.py step frechet

measures these parts, ``--list`` names all. The ratios are printed, and stored as Parquet and
Markdown in ``results/bench``. ``--quick`` takes few blocks, to see that everything runs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

PARTS = (
    "step",
    "overhead",
    "sweep",
    "loader",
    "frechet",
    "shares",
    "fused",
    "compiled",
    "tracking",
    "simulate",
    "stock",
)
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OUT = Path(__file__).parent.parent / "results" / "bench"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument(
        "--quick", action="store_true", help="few blocks, to see that all of it runs"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where the ratios are stored")
    asked = parser.parse_args()
    if asked.list:
        for part in PARTS:
            print(f"{part}\t{(importlib.import_module(part).__doc__ or '').splitlines()[0]}")
        return
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    measure(asked.parts or PARTS, asked.quick, asked.out)


def measure(parts: list[str] | tuple[str, ...], quick: bool, out: Path) -> None:
    # Before any of them is imported: the libraries read it once.
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    from pairs import Row, store, told

    rows = list[Row]()
    for part in parts:
        print(f"== {part}", file=sys.stderr)
        begun = time.monotonic()
        found = importlib.import_module(part).rows(quick)
        command = " ".join(["benchmarks/bench.py", part, *(["--quick"] if quick else [])])
        store(found, out, command, time.monotonic() - begun)
        rows += found
    print(told(rows))
    print(f"stored in {out}")


if __name__ == "__main__":
    main()
