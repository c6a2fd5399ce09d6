#!/usr/bin/env python
"""What composing techniques costs: the trainer's loop beside a DCGAN loop written by hand.

Both train the same networks with the same optimizers, from the same weights, on the same examples
and latents, in one process and one thread. They take turns, 16 rounds each, and a block is so many
turns. Printed are the images a second of each, the ratio of every block, and the mean ratio with
its lower 95 % bound (one-sided, bootstrap over blocks).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.store import normalise, pack
from sweeper.config import Trial
from sweeper.game import Batch, Context, Player
from sweeper.trial.loop import LOOK_EVERY, Training

Loop = Callable[[int], float]


class Noise(Synthetic):
    """2,048 random images of 32 px in colour."""

    name = "noise"
    classes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        return "2048 random images of 32 px"

    def __len__(self) -> int:
        return 2048

    def __getitem__(self, index: int) -> Example:
        random = np.random.default_rng(index)
        return Example(random.integers(0, 256, (3, 32, 32), dtype=np.uint8))


def dcgan(data: dict[str, Any], channels: int, size: int) -> Trial:
    """The preset ``base/dcgan.yaml``, never evaluated."""
    adam = {"adam": {"lr": 2e-4, "beta1": 0.5, "beta2": 0.999}}
    side = {"normalization": "batch_norm", "optimizer": adam}
    return Trial.read(
        {
            "data": data,
            "architecture": {"dcgan": {"channels": channels}},
            "prior": {"gaussian_latent": {"size": 64}},
            "generator": side,
            "discriminator": side,
            "loss": "non_saturating",
            "schedule": "alternating_update",
            "batch": {"size": size},
            "horizon_kimg": 1e6,
            "evaluation": {"features": "random_conv", "samples": 16},
        }
    )


def composed(training: Training) -> Loop:
    """The trainer's loop. Returns D's last loss."""

    def loop(rounds: int) -> float:
        training._train_until(training.progress.images + rounds * training.gan.batch_size)
        return training._losses["discriminator.adversarial"].item()

    return loop


def by_hand(made: Training) -> Loop:
    """A loop as in a textbook, which looks at a loss as often. Returns D's last loss."""
    d, g = made.gan.networks["main"]
    d_optimizer, g_optimizer = made.gan.optimizers[Player.D], made.gan.optimizers[Player.G]
    data, n = made.store.all(), made.gan.batch_size
    prior, random = made.gan.prior, made.progress.random["latents"]
    ones, zeros = torch.ones(n), torch.zeros(n)
    order, at = made.feed.rows.index, 0

    def loop(rounds: int) -> float:
        nonlocal at
        for _ in range(rounds):
            real = normalise(data[order(at, n)])
            at += n
            fake = g(prior(n, random), Context())

            d_optimizer.zero_grad()
            d_loss = bce(d(Batch(real)).scores, ones) + bce(d(Batch(fake.detach())).scores, zeros)
            d_loss.backward()
            d_optimizer.step()

            g_optimizer.zero_grad()
            g_loss = bce(d(Batch(fake)).scores, ones)
            g_loss.backward()
            g_optimizer.step()
        return float(d_loss.item())

    return loop


def seconds(loop: Loop) -> float:
    start = time.perf_counter()
    loop(LOOK_EVERY)
    return time.perf_counter() - start


def compare(name: str, trial: Trial, cache: Path, blocks: int, turns: int) -> None:
    ours, theirs = composed(Training(trial, cache)), by_hand(Training(trial, cache))
    losses = [loop(2) for loop in (ours, theirs)]
    assert abs(losses[0] - losses[1]) < 1e-4, f"the loops train alike, but D's losses are {losses}"
    for loop in (ours, theirs):
        loop(LOOK_EVERY)
    images = LOOK_EVERY * turns * trial.batch.size
    ratios, rates = [], []
    for _ in range(blocks):
        took = np.zeros(2)
        for i in range(turns):
            for which in (0, 1) if i % 2 else (1, 0):
                took[which] += seconds((ours, theirs)[which])
        ratios.append(took[1] / took[0])
        rates.append(images / took)
    resampled = np.random.default_rng(0).choice(ratios, (10_000, blocks)).mean(1)
    mean = np.mean(rates, axis=0)
    print(f"\n{name}: {blocks} blocks of 2 x {images:,} images, in turns")
    print(f"images/s, sweeper and by hand  {mean[0]:,.0f} and {mean[1]:,.0f}")
    print(f"ratio of each block            {' '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(
        f"mean ratio, lower 95 % bound   {np.mean(ratios):.3f}, {np.quantile(resampled, 0.05):.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--turns", type=int, default=4, help="turns of each loop in a block")
    parser.add_argument("--only", choices=("digits", "noise"))
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        cache = Path(folder)
        if chosen.only != "noise":
            trial = dcgan({"digits": {}}, channels=16, size=32)
            # A round takes some milliseconds only.
            compare(
                "digits, 8 px, 16 channels, batch 32", trial, cache, chosen.blocks, 4 * chosen.turns
            )
        if chosen.only != "digits":
            store = pack(Noise(), cache / "data")
            trial = dcgan({"packed": {"path": str(store.path)}}, channels=32, size=64)
            compare(
                "noise, 32 px, 32 channels, batch 64", trial, cache, chosen.blocks, chosen.turns
            )


if __name__ == "__main__":
    main()
