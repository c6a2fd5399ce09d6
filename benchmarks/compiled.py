#!/usr/bin/env python
"""What torch.compile would save: DCGANs whose D and G are compiled, beside the same uncompiled.

Both are trained by the loop of ``fused.py``, on the same images and latents, in turns, in CPU
seconds of one thread. What compiling takes does not count, and is printed: a sweep would pay it for
every shape of its networks. First both must make the same images.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from fused import LATENT, Game, game, pair
from pairs import Row, in_turns, told
from step import CASES, Case
from torch import Tensor

SIZES = ("8", "16", "32")
ALIKE = 1e-5
"""How far apart images of both G may be."""
STEPS = 3
"""In which all is compiled."""
ENOUGH = 64
"""Versions of a network that may be compiled: for each player, with and without gradients."""


def compiled(case: Case) -> Game:
    d, g = pair(case)
    made = game(d, g)
    # The optimizers keep the parameters, which a compiled network shares with its own.
    return made._replace(d=torch.compile(d), g=torch.compile(g))


def train(made: Game, real: Tensor, z: Tensor, rounds: int) -> None:
    for _ in range(rounds):
        made.round(real, z)


def compared(case: Case, blocks: int) -> Row:
    torch.manual_seed(0)
    plain = game(*pair(case))
    torch.manual_seed(0)
    ours = compiled(case)
    shape = (case.batch, 1 if case.px == 8 else 3, case.px, case.px)
    real = (torch.rand(shape) * 2 - 1).to(memory_format=torch.channels_last)
    z = torch.randn(case.batch, LATENT, 1, 1)
    begun = time.perf_counter()
    with torch.no_grad():
        gap = float((plain.g(z) - ours.g(z)).abs().max())
    assert gap < ALIKE, f"both make the same images, but they are {gap} apart"
    train(ours, real, z, STEPS)
    took = time.perf_counter() - begun
    print(f"{case.name}: {took:.0f} s to compile", file=sys.stderr)
    steps = {
        name: partial(train, made, real, z, case.rounds)
        for name, made in (("compiled", ours), ("as it is", plain))
    }
    return in_turns(steps, blocks).row(
        "compiled",
        "as it is",
        part="compiled",
        case=case.name,
        protocol=(
            "a plain DCGAN whose networks torch.compile has compiled : the same as it is, by one "
            "loop; CPU seconds of one thread, without those of compiling"
        ),
    )


def rows(quick: bool) -> list[Row]:
    return measured(2 if quick else 12)


def measured(blocks: int) -> list[Row]:
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = ENOUGH
    with (
        TemporaryDirectory() as cache,
        patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache),
    ):
        return [compared(CASES[px], blocks) for px in SIZES]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=12)
    print(told(measured(parser.parse_args().blocks)))


if __name__ == "__main__":
    main()
