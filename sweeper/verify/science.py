"""Seeded studies of mode collapse: hours of training, resumable, with what came of them in a table.

Each study compares arms over the same seeds, fixed beforehand. Every run is written down when it is
over, so that a study goes on where it was stopped. A difference is stated with an interval and a
one-sided test; where there is none, the table says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from sweeper.catalog.datasets.digits import Digits
from sweeper.catalog.datasets.grid import Grid
from sweeper.catalog.datasets.ring import Ring
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.metrics.features import extractor
from sweeper.catalog.metrics.mode_coverage import Coverage, counted, near_centres
from sweeper.config import Evaluation, Trial
from sweeper.registry import nearest
from sweeper.space.source import InputError
from sweeper.trial.loop import Diverged, Training

Tree = dict[str, Any]
BOOTSTRAP = 10_000


@dataclass(frozen=True)
class Study:
    """Arms of one comparison: a trial that all share, what each arm changes in it, and how many
    steps of D each is trained for. The first arm is the control, and the claim is that the others
    find more modes."""

    name: str
    protocol: str
    base: Tree
    arms: Mapping[str, Tree]
    seeds: int
    d_steps: int
    samples: int
    coverage: Callable[[Tensor, Path], Coverage]

    def tree(self, arm: str, seed: int) -> Tree:
        """The trial of one run."""
        changes = self.arms[arm]
        tricks = changes.get("tricks", {})
        drawn = self.base["batch"]["size"] * tricks.get("packing", {}).get("m", 1)
        kimg = self.d_steps * drawn / 1000
        measured = {"features": "random_conv", "samples": self.samples, "every_kimg": kimg}
        return {
            **self.base,
            **changes,
            "horizon_kimg": kimg,
            "evaluation": measured,
            "seed": seed,
            "diagnostics": [],
        }

    def key(self, arm: str, seed: int) -> str:
        """Changes with anything that bears on a run's result."""
        text = json.dumps([self.tree(arm, seed), self.samples], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def plane(data: str, centres: np.ndarray, deviation: float, d_steps: int, protocol: str) -> Study:
    """Packing on a mixture of Gaussians in the plane."""
    adam = {"adam": {"lr": 1e-3, "beta1": 0.8, "decay": "cosine", "decay_start": 0.3}}
    where = torch.from_numpy(centres)
    return Study(
        f"{data}_packing",
        f"{protocol}, {d_steps:,} steps of D (published: 400,000)",
        {
            "data": {data: {"deviation": deviation, "length": 100_000}},
            "architecture": {"mlp_gan": {"hidden": 128, "depth": 3}},
            "prior": {"gaussian_latent": {"size": 2}},
            "generator": {"normalization": "batch_norm", "optimizer": adam},
            "discriminator": {"normalization": "none", "optimizer": adam},
            "loss": "non_saturating",
            "schedule": "alternating_update",
            "batch": {"size": 100},
        },
        {
            "plain": {},
            **{f"packing {m}": {"tricks": {"packing": {"m": m}}} for m in (2, 3, 4)},
        },
        seeds=20,
        d_steps=d_steps,
        samples=2500,
        coverage=lambda points, cache: near_centres(points, where, deviation),
    )


def digits_of(images: Tensor, cache: Path) -> Coverage:
    """Which of the 1,000 triples of digits samples (N, 3, 8, 8) fall into, by a classifier of one
    digit."""
    asked = Evaluation(features="classifier")
    classifier = extractor(asked, pack(Digits(), cache / "data"), cache / "features")
    digits = list[Tensor]()
    for channel in torch.split(images, 1, dim=1):
        logits = classifier.logits(classifier(channel))
        assert logits is not None
        digits.append(logits.argmax(1))
    modes = 100 * digits[0] + 10 * digits[1] + digits[2]
    return counted(torch.bincount(modes, minlength=1000), len(images))


def stacked() -> Study:
    """Packing, minibatch statistics and unrolling on three digits as colours."""
    adam = {"adam": {"lr": 1e-3, "beta1": 0.5}}
    unrolled = {"unrolled_gan": {"steps": 5, "mode": "first_order"}}
    return Study(
        "stacked_digits",
        "stacked digits, 1,000 modes: DCGAN, 16 channels in G and D, batch norm in G, z ~ N(0, I) "
        "of 64, Adam 1e-3 (0.5, 0.999), batch 64, 300 steps of D (published: 128,000 triples x "
        "50 epochs), 10,000 samples, modes by a digit classifier for each colour",
        {
            "data": {"stacked_digits": {}},
            "architecture": {"dcgan": {"channels": 16}},
            "prior": {"gaussian_latent": {"size": 64}},
            "generator": {"normalization": "batch_norm", "optimizer": adam},
            "discriminator": {"normalization": "none", "optimizer": adam},
            "loss": "non_saturating",
            "schedule": "alternating_update",
            "batch": {"size": 64},
        },
        {
            "plain": {},
            "packing 2": {"tricks": {"packing": {"m": 2}}},
            "minibatch_stddev": {"tricks": {"minibatch_stddev": {}}},
            "unrolled 5": {"tricks": unrolled},
        },
        seeds=8,
        d_steps=300,
        samples=10_000,
        coverage=digits_of,
    )


def studies() -> dict[str, Study]:
    """The studies by name."""
    common = (
        "G and D of 3 layers of 128 (published: 4 of 400 and 3 maxout layers of 200), batch norm "
        "in G, z ~ N(0, I_2), Adam 1e-3 (published: 1e-4) with beta1 0.8, falling to 0 along a "
        "cosine over the last 70 %, batch 100 scores, 2,500 samples, a mode is found by one of "
        "them within 3 deviations"
    )
    ring = plane("ring", Ring().centres, 0.01, 2000, f"ring of 8, deviation 0.01: {common}")
    grid = plane("grid", Grid().centres, 0.05, 1000, f"grid of 25, deviation 0.05: {common}")
    return {study.name: study for study in (ring, grid, stacked())}


def conduct(names: Sequence[str], out: Path, say: Callable[[str], None]) -> Iterator[Tree]:
    """Run some studies, or all, and keep their runs and their tables in ``reference`` under
    ``out``. Yields the rows and the table of each. Raises InputError for a name that none has."""
    known = studies()
    for name in names:
        if name not in known:
            hint = f"; did you mean {close!r}?" if (close := nearest(name, known)) else ""
            raise InputError([f"the studies are {', '.join(known)}, but got {name!r}{hint}"])
    folder = out / "reference"
    for name in names or known:
        study = known[name]
        records = run(study, folder, out / ".cache", say, workers=os.cpu_count() or 1)
        rows = summary(study, records)
        text = table(study, rows)
        (folder / f"{name}.md").write_text(text)
        yield {"study": name, "protocol": study.protocol, "rows": rows, "table": text}


def run_one(name: str, arm: str, seed: int, cache: Path) -> Tree:
    """One run of a study, in whatever process this is, on one thread."""
    torch.set_num_threads(1)
    study = studies()[name]
    began = time.monotonic()
    record: Tree = {"arm": arm, "seed": seed, "key": study.key(arm, seed)}
    training = Training(Trial.read(study.tree(arm, seed)), cache)
    try:
        training.advance()
    except Diverged:
        return record | {"modes": 0, "quality": 0.0, "reverse_kl": None, "seconds": 0.0}
    points = training.evaluator.sample(
        training.gan.eval_generator(), training.gan.prior, study.samples, "rung"
    )
    seen = study.coverage(points, cache)
    return record | {
        "modes": seen.modes,
        "quality": round(seen.quality, 4),
        "reverse_kl": round(seen.reverse_kl, 4) if seen.modes else None,
        "seconds": round(time.monotonic() - began, 1),
    }


def run(
    study: Study, folder: Path, cache: Path, say: Callable[[str], None], workers: int = 1
) -> list[Tree]:
    """Run what is missing of a study, and write each run down as it ends. Returns all of them."""
    file = folder / f"{study.name}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    done = {(r["arm"], r["seed"]): r for r in kept(study, file)}
    wanted = [(arm, seed) for seed in range(study.seeds) for arm in study.arms]
    missing = [run for run in wanted if run not in done]
    if missing:
        say(f"{study.name}: {len(missing)} of {len(wanted)} runs to go")
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        futures = [pool.submit(run_one, study.name, arm, seed, cache) for arm, seed in missing]
        for n, future in enumerate(as_completed(futures), 1):
            record = future.result()
            done[record["arm"], record["seed"]] = record
            with file.open("a") as lines:
                lines.write(json.dumps(record) + "\n")
            say(
                f"{study.name}: {n} of {len(missing)}, {record['arm']}, seed {record['seed']}: "
                f"{record['modes']} modes in {record['seconds']:.0f} s"
            )
    finally:
        pool.shutdown(cancel_futures=True)
    return [done[run] for run in wanted]


def kept(study: Study, file: Path) -> Iterator[Tree]:
    """The runs that were written down, of this very protocol."""
    if file.is_file():
        for line in file.read_text().splitlines():
            record = json.loads(line)
            known = record["arm"] in study.arms and record["seed"] < study.seeds
            if known and record["key"] == study.key(record["arm"], record["seed"]):
                yield record


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean, by bootstrap from a fixed seed."""
    drawn = np.random.default_rng(0).choice(np.asarray(values, float), (BOOTSTRAP, len(values)))
    low, high = np.quantile(drawn.mean(1), [0.025, 0.975])
    return float(low), float(high)


def summary(study: Study, records: Sequence[Tree]) -> list[Tree]:
    """One row an arm: the mean of modes found with its interval, the other means, and the
    probability of so many more modes than the control by chance (one-sided Mann-Whitney U)."""
    control, rows = next(iter(study.arms)), list[Tree]()
    modes = {arm: [r["modes"] for r in records if r["arm"] == arm] for arm in study.arms}
    for arm in study.arms:
        mine = [r for r in records if r["arm"] == arm]
        low, high = interval(modes[arm])
        p = (
            None
            if arm == control
            else float(mannwhitneyu(modes[arm], modes[control], alternative="greater").pvalue)
        )
        divergences = [r["reverse_kl"] for r in mine if r["reverse_kl"] is not None]
        rows.append(
            {
                "arm": arm,
                "runs": len(mine),
                "modes": float(np.mean(modes[arm])),
                "low": low,
                "high": high,
                "quality": float(np.mean([r["quality"] for r in mine])),
                "reverse_kl": float(np.mean(divergences)) if divergences else None,
                "p": p,
            }
        )
    return rows


def table(study: Study, rows: Sequence[Tree]) -> str:
    """The rows as Markdown, with the protocol above and what follows below."""
    head = [
        "| arm | runs | modes (95 % interval) | high quality | reverse KL | p |",
        "|---|---|---|---|---|---|",
    ]
    lines = [
        f"| {r['arm']} | {r['runs']} | {r['modes']:.1f} ({r['low']:.1f} to {r['high']:.1f}) "
        f"| {r['quality']:.1%} | {shown(r['reverse_kl'], '.2f')} | {shown(r['p'], '.3g')} |"
        for r in rows
    ]
    verdicts = [f"- {verdict(r)}" for r in rows if r["p"] is not None]
    seeds = f"Seeds 0 to {study.seeds - 1}; p: one-sided Mann-Whitney U against {rows[0]['arm']}."
    return "\n".join(
        [f"## {study.name}", "", study.protocol + ".", seeds, "", *head, *lines, "", *verdicts, ""]
    )


def shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def verdict(row: Tree) -> str:
    """What one arm's numbers say, a null result included."""
    if row["p"] < 0.05:
        return f"{row['arm']}: finds more modes than the control (p = {row['p']:.3g})."
    return f"{row['arm']}: no more modes than the control could be shown (p = {row['p']:.3g})."
