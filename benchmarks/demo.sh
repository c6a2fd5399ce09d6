#!/usr/bin/env bash
# Runs a sweep in a folder of its own and prints what it took, in ratios of that one run.
# Usage: benchmarks/demo.sh [options of `sweeper run`, such as --trials 6 --set budget.max=3.6]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${BIN:-$PWD/.venv/bin}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
start=$(date +%s.%N)
"$bin/sweeper" run search_spaces/ttur.yaml --out "$folder" --name demo "$@"
end=$(date +%s.%N)
"$bin/python" - "$folder/demo" "$start" "$end" <<'PYTHON'
import json, os, sys
from pathlib import Path

import pyarrow.parquet as pq

folder, took = Path(sys.argv[1]), float(sys.argv[3]) - float(sys.argv[2])
plan = json.loads((folder / "sweep.json").read_text())
trials = pq.read_table(folder / "trials.parquet").to_pylist()
full = len(trials) * plan["horizon_kimg"] * 1000
busy = sum(t["seconds"] for t in trials)
at_once = os.cpu_count() or 1
print(f"\n{at_once} cores, {len(trials)} trials of {plan['horizon_kimg']:g} kimg")
print(f"wall time, start to answer        {took:.0f} s")
print(f"images : all trials in full       {sum(t['images'] for t in trials) / full:.2f}")
print(f"time in trials : wall time x cores {busy / (took * at_once):.2f}")
known = [t for t in trials if t["heldout"] is not None]
base = [t["heldout"] for t in known if t["baseline"] is not None]
best = [t for t in known if t["baseline"] is None]
if base and best:
    chosen = min(best, key=lambda t: t["score"])["heldout"]
    print(f"held-out, baseline : best         {base[0]:.4g} : {chosen:.4g} = {base[0] / chosen:.2f}")
PYTHON
