#!/usr/bin/env python
"""Wall time to what the stock script ends with: sweeper beside Ray Tune as its docs show it.

    benchmarks/stock.py --seeds 10

A pair is ``stock_sweep.py``, beside this file, and ``sweeper run`` on the same space, networks,
budget, protocol and seed, each in a process of its own and alone on the machine; who comes first
alternates. Both start from nothing: data, classifier and databases are made anew each time.

The script's final FID is that of its best trial, as Tune's ``get_best_result`` has it. Sweeper's
time is from the start of its process to its first measurement of an FID as good, which is never if
there is none. The script's is that of the whole script; a row beside it has, more strictly, its
time to its own first report of one as good. Medians are over pairs.

Every pair is kept as a line of ``pairs.jsonl`` in a folder, so that a run that was cut goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pairs import Row, Times, told
from sessions import end

HERE = Path(__file__).parent
FOLDER = HERE.parent / "results" / "bench" / "stock"
SEEDS = 10
BATCH, EVERY = 32, 100
LONGEST = 3600.0
"""Seconds after which a process has hung."""
PROMISED = 1 / 0.35
SPACE = """\
name: stock
extends: base/dcgan.yaml
trial:
  generator: {optimizer: {adam: {lr: {loguniform: [1.0e-4, 1.0e-2]}}}}
  discriminator: {optimizer: {adam: {lr: {loguniform: [1.0e-4, 1.0e-2]}}}}
"""
"""Sizes, budget and protocol are those that ``search_spaces/data/digits.yaml`` brings."""
OWN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAY_ADDRESS", "RAY_TMPDIR")
"""What of this process's environment is not for those that it starts: neither is pinned."""

Side = dict[str, Any]
"""What a sweep took, ``wall`` seconds; when it measured which FID, its ``line``; and, of the stock
script, its ``final`` one."""


@dataclass(frozen=True)
class Size:
    trials: int = 24
    steps: int = 900

    @property
    def kimg(self) -> float:
        return self.steps * BATCH / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="pairs")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where pairs are kept")
    parser.add_argument("--quick", action="store_true", help="one small pair, which is not kept")
    parser.add_argument("--check", action="store_true", help="only see that both do the same")
    asked = parser.parse_args()
    if asked.check:
        check()
        return
    print(told(rows(asked.quick, asked.seeds, asked.folder)))


def rows(quick: bool, seeds: int = SEEDS, folder: Path = FOLDER) -> list[Row]:
    check()
    if quick:
        with TemporaryDirectory() as temporary:
            return compared(measured(Size(4, 200), 1, Path(temporary)), Size(4, 200))
    return compared(measured(Size(), seeds, folder), Size())


def compared(pairs: Sequence[Side], size: Size) -> list[Row]:
    """What the pairs say."""
    ours, theirs = ([pair[name] for pair in pairs] for name in ("ours", "theirs"))
    finals = [side["final"] for side in theirs]
    to_final = [reached(a, final) for a, final in zip(ours, finals, strict=True)]
    own = [reached(b, final) for b, final in zip(theirs, finals, strict=True)]
    walls = [[side["wall"] for side in sides] for sides in (ours, theirs)]
    bests = [min(fid for _, fid in side["line"]) for side in ours]
    never = sum(math.isinf(seconds) for seconds in to_final)
    seeds = ", ".join(str(pair["seed"]) for pair in pairs)
    protocol = (
        f"DCGAN of width 16 on digits, batch {BATCH}, {size.trials} trials x {size.steps} steps, "
        f"FID every {EVERY}; pairs of the same seed, {seeds}; wall clock from the start of each "
        f"process; sweeper was never as good in {never} of {len(pairs)}"
    )
    cases: dict[str, tuple[list[float], list[float], float | None]] = {
        "to the script's final FID : the whole script": (to_final, walls[1], PROMISED),
        "to the script's final FID : its own first as good": (to_final, own, None),
        "all trials of both": (walls[0], walls[1], None),
        "the best FID, not seconds": (bests, finals, None),
    }
    return [
        Times(("sweeper", "stock script"), np.array([a, b]).T).row(
            "sweeper",
            "stock script",
            part="stock",
            case=case,
            protocol=protocol,
            at_least=at_least,
        )
        for case, (a, b, at_least) in cases.items()
    ]


def reached(side: Side, fid: float) -> float:
    """The seconds to the first measurement that is as good; infinity if there is none."""
    return min((seconds for seconds, measured in side["line"] if measured <= fid), default=math.inf)


def measured(size: Size, seeds: int, folder: Path) -> list[Side]:
    """The pairs of these seeds: those that are kept in a folder, and the others from now on."""
    file = folder / "pairs.jsonl"
    kept = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    same = {p["seed"]: p for p in kept if Size(p["trials"], p["steps"]) == size}
    for seed in range(seeds):
        if seed in same:
            continue
        same[seed] = pair(size, seed)
        kept.append(same[seed])
        keep(kept, file)
        print(f"  {described(same[seed])}", file=sys.stderr, flush=True)
    return [same[seed] for seed in range(seeds)]


def keep(lines: Sequence[Side], file: Path) -> None:
    """Write all lines, so that the file appears whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".tmp")
    draft.write_text("".join(json.dumps(line) + "\n" for line in lines))
    draft.replace(file)


def described(pair: Side) -> str:
    ours, theirs = pair["ours"], pair["theirs"]
    final, best = theirs["final"], min(fid for _, fid in ours["line"])
    return (
        f"seed {pair['seed']}: the script ended with FID {final:.4g} after {theirs['wall']:.0f} s, "
        f"and was first as good after {reached(theirs, final):.0f} s; sweeper was after "
        f"{reached(ours, final):.0f} s, and ended with {best:.4g} after {ours['wall']:.0f} s"
    )


def pair(size: Size, seed: int) -> Side:
    """Both sweeps of a seed, one after the other. Raises RuntimeError if one fails, or if their
    numbers are not comparable."""
    order = ("ours", "theirs") if seed % 2 else ("theirs", "ours")
    run = {"ours": sweeper, "theirs": stock}
    found = {name: run[name](size, seed) for name in order}
    hashes = {name: side.pop("protocol") for name, side in found.items()}
    if len(set(hashes.values())) > 1:
        raise RuntimeError(f"FIDs are compared under one protocol, but got {hashes}")
    size_of = {"trials": size.trials, "steps": size.steps}
    return {"seed": seed, **size_of, "first": order[0], "load": os.getloadavg()[2], **found}


def stock(size: Size, seed: int) -> Side:
    """The stock script, in a process of its own."""
    with scratch() as temp:
        words = ["--seed", seed, "--trials", size.trials, "--steps", size.steps]
        command = [HERE / "stock_sweep.py", *words, "--folder", temp / "run"]
        _, wall = ran(command, temp)
        # Its clock begins a moment after its process does, which is to its good.
        return {**json.loads((temp / "run" / "result.json").read_text()), "wall": wall}


def sweeper(size: Size, seed: int) -> Side:
    """``sweeper run``, in a process of its own; its ledger says when it measured what."""
    with scratch() as temp:
        (temp / "stock.yaml").write_text(SPACE)
        settings = settings_of(size)
        words = ["--trials", size.trials, "--seed", seed, "--out", temp / "results"]
        command = ["-m", "sweeper.cli", "run", temp / "stock.yaml", "--address", "local", *words]
        begun, wall = ran([*command, *(w for s in settings for w in ("--set", s))], temp)
        ledger = temp / "results" / "stock" / "ledger.sqlite"
        asked = "SELECT at, value, json_extract(data, '$.protocol') FROM events"
        with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as file:
            rows = file.execute(f"{asked} WHERE kind = 'measured' ORDER BY seq").fetchall()
    (protocol,) = {row[2] for row in rows}
    return {"wall": wall, "line": [(at - begun, fid) for at, fid, _ in rows], "protocol": protocol}


def settings_of(size: Size) -> list[str]:
    """The budget, as paths that are set: by default that of the data preset, measured as often."""
    return [
        f"budget.max={size.kimg}",
        f"budget.rungs.first={EVERY}/{size.steps}",
        f"evaluation.every_kimg={EVERY * BATCH / 1000}",
    ]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for all that a sweep writes. Its name is short, since Ray puts sockets below it."""
    with TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield Path(folder)


def ran(words: Sequence[object], temp: Path) -> tuple[float, float]:
    """Run a script of Python alone: when it began, and the seconds that it took. Whatever it leaves
    running is ended. Raises RuntimeError with its last words if it fails."""
    environ = {name: value for name, value in os.environ.items() if name not in OWN}
    # Neither asks the network for anything, and Ray writes no token into this user's home.
    environ |= {
        "TMPDIR": str(temp),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "true",
    }
    log = temp / "log.txt"
    with log.open("w") as out:
        begun = time.time()
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=temp,
            env=environ,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(LONGEST)
            wall = time.time() - begun
        finally:
            if process.poll() is None:
                process.terminate()
            if left := end(process):
                print(f"  left behind, and killed: processes {left}", file=sys.stderr)
    if code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {code}:\n{last}")
    return begun, wall


def check() -> None:
    """See that both have networks of one size, judge after as many images, and call the same number
    FID: of one generator, trained by sweeper, both have the same."""
    import torch
    from stock_sweep import discriminator, fid, generator, lent

    from sweeper.space.points import sobol
    from sweeper.sweep.plan import Settings, prepare
    from sweeper.trial.loop import Training

    with scratch() as temp:
        (temp / "stock.yaml").write_text(SPACE)
        overrides = tuple(settings_of(Size()))
        plan = prepare(Settings(temp / "stock.yaml", "digits", overrides=overrides, out=temp))
        trial = plan.space.sample(next(iter(sobol(plan.space.tree, 0))))
        training = Training(trial, plan.cache)
        metric, protocol = lent(plan.cache)
        assert protocol == plan.protocol.hash, f"{protocol} is not {plan.protocol.hash}"
        assert plan.rungs == tuple(round(BATCH * steps) for steps in (100, 300)), plan.rungs
        d, g = training.gan.networks["main"]
        mine = generator(), discriminator()
        for a, b in zip(mine, (g, d), strict=True):
            shapes = [[p.shape for p in network.parameters()] for network in (a, b)]
            assert shapes[0] == shapes[1], f"the networks differ: {shapes}"
        trained = training.advance()
        assert trained.images == EVERY * BATCH
        with torch.no_grad():
            state = {k: v for k, v in mine[0].state_dict().items() if "tracked" not in k}
            weights = [v for k, v in g.state_dict().items() if "tracked" not in k]
            for value, weight in zip(state.values(), weights, strict=True):
                value.copy_(weight)
        script = fid(mine[0], metric)
        assert abs(script - trained.score) < 1e-6 * script, f"{script} is not {trained.score}"
        numbers = [sum(p.numel() for p in network.parameters()) for network in mine]
    print(
        f"  both: {numbers[0]:,} and {numbers[1]:,} parameters of G and D, protocol {protocol}; "
        f"FID of one generator: {script:.8g} by the script, {trained.score:.8g} by sweeper",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
