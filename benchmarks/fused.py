#!/usr/bin/env python
"""What training K trials in lock-step would save: K DCGANs as one network of grouped convolutions.

Beside them are the same K, one after another, by the same loop, which makes fakes once a round,
lets G's step compute no gradients of D, and has channels last and Adam's fused kernel: what the
trainer does. All K have the same rates, which is to the good of lock-step, since Adam's kernel
knows one rate only. First, in float64, both must train alike to 1e-10.

It is measured on one thread of a CPU, and so without what it is made for, which are the launches
of a GPU's kernels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from pairs import Row, in_turns, told
from step import BETAS, CASES, RATE, Case, dcgan_weights, sequential
from torch import Tensor, nn, optim
from torch.nn.functional import binary_cross_entropy_with_logits as bce

LATENT = 64
TOGETHER = {"8": (4, 16), "16": (4, 8), "32": (2, 4)}
"""How many trials, at so many pixels."""
ALIKE, STEPS = 1e-10, 10
"""How far apart the weights may be after so many steps, in float64 and relative to the largest."""

Pair = tuple[nn.Sequential, nn.Sequential]
"""D and G."""


def pair(case: Case, dtype: torch.dtype = torch.float32) -> Pair:
    """D, which gives logits, and G of one trial."""
    d, g = sequential((1 if case.px == 8 else 3, case.px, case.px), LATENT, case.channels)
    found = d[:-1].apply(dcgan_weights), g.apply(dcgan_weights)
    return tuple(net.to(dtype, memory_format=torch.channels_last) for net in found)  # type: ignore[return-value]


def fused(networks: Sequence[nn.Sequential]) -> nn.Sequential:
    """Networks of one shape as one, which has their channels one after another."""
    layers = [together(*each) for each in zip(*networks, strict=True)]
    made = nn.Sequential(*layers).to(next(networks[0].parameters()).dtype)
    states = [network.state_dict() for network in networks]
    made.load_state_dict(
        {
            # All but the counters of batches, which are numbers.
            name: torch.cat([state[name] for state in states]) if value.ndim else value
            for name, value in states[0].items()
        }
    )
    return made.to(memory_format=torch.channels_last)


def together(layer: nn.Module, *others: nn.Module) -> nn.Module:
    """One layer in place of several."""
    k = 1 + len(others)
    match layer:
        case nn.Conv2d() | nn.ConvTranspose2d():
            return type(layer)(
                layer.in_channels * k,
                layer.out_channels * k,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                groups=k,
                bias=layer.bias is not None,
            )
        case nn.BatchNorm2d():
            return nn.BatchNorm2d(layer.num_features * k)
    return layer


class Game(NamedTuple):
    """D and G of one trial, or of K at once, and what moves them."""

    d: nn.Sequential
    g: nn.Sequential
    d_optimizer: optim.Optimizer
    g_optimizer: optim.Optimizer

    def round(self, real: Tensor, z: Tensor) -> None:
        """One step each. Every trial's loss is a mean over its own batch; their sum has the
        gradients of all."""
        fake = self.g(z)
        scores = self.d(real), self.d(fake.detach())
        self.d_optimizer.zero_grad()
        (loss(scores[0], 1.0) + loss(scores[1], 0.0)).backward()
        self.d_optimizer.step()
        self.d.requires_grad_(False)
        self.g_optimizer.zero_grad()
        loss(self.d(fake), 1.0).backward()
        self.d.requires_grad_(True)
        self.g_optimizer.step()


def loss(scores: Tensor, target: float) -> Tensor:
    """The sum of the losses of all trials that the scores are of, a trial a channel."""
    return bce(scores, torch.full_like(scores, target)) * scores.shape[1]


def game(d: nn.Sequential, g: nn.Sequential) -> Game:
    made = (optim.Adam(net.parameters(), RATE, BETAS["dcgan"], fused=True) for net in (d, g))
    return Game(d, g, *made)


class Both(NamedTuple):
    """K trials, one after another and in lock-step, on the same images and latents."""

    apart: Callable[[int], None]
    fused: Callable[[int], None]
    gap: Callable[[], float]
    """How far apart their weights are, relative to the largest."""


def both(case: Case, k: int, dtype: torch.dtype = torch.float32) -> Both:
    torch.manual_seed(0)
    pairs = [pair(case, dtype) for _ in range(k)]
    one = game(*(fused(nets) for nets in zip(*pairs, strict=True)))
    many = [game(*each) for each in pairs]
    shape = (case.batch, 1 if case.px == 8 else 3, case.px, case.px)
    real = torch.rand(k, *shape, dtype=dtype) * 2 - 1
    z = torch.randn(k, case.batch, LATENT, 1, 1, dtype=dtype)
    # Stacked once, which is to the good of lock-step, too.
    at_once = [torch.cat([*x], 1).contiguous(memory_format=torch.channels_last) for x in (real, z)]

    def apart(rounds: int) -> None:
        for n, each in enumerate(many):
            for _ in range(rounds):
                each.round(real[n], z[n])

    def in_step(rounds: int) -> None:
        for _ in range(rounds):
            one.round(*at_once)

    @torch.no_grad()
    def gap() -> float:
        found = zip(
            (*one.d.parameters(), *one.g.parameters()),
            zip(*([*each.d.parameters(), *each.g.parameters()] for each in many), strict=True),
            strict=True,
        )
        return max(float((a - torch.cat(b)).abs().max() / a.abs().max()) for a, b in found)

    return Both(apart, in_step, gap)


def compared(case: Case, k: int, blocks: int) -> Row:
    exact = both(case, k, torch.float64)
    exact.apart(STEPS)
    exact.fused(STEPS)
    assert exact.gap() < ALIKE, f"both train alike, but their weights are {exact.gap()} apart"
    here = both(case, k)
    ours, theirs = f"{k} in lock-step", "one after another"
    rounds = max(1, case.rounds // k)
    steps = {ours: partial(here.fused, rounds), theirs: partial(here.apart, rounds)}
    print(f"{k} x {case.name}", file=sys.stderr)
    return in_turns(steps, blocks).row(
        ours,
        theirs,
        part="fused",
        case=f"{k} x {case.name}",
        protocol=(
            f"K plain DCGANs as one of grouped convolutions : one after another, by one loop; "
            f"weights alike to {ALIKE:g} after {STEPS} steps in float64; CPU seconds of one thread"
        ),
    )


def rows(quick: bool) -> list[Row]:
    return measured(2 if quick else 12)


def measured(blocks: int) -> list[Row]:
    torch.set_num_threads(1)
    return [compared(CASES[px], k, blocks) for px, counts in TOGETHER.items() for k in counts]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=12)
    print(told(measured(parser.parse_args().blocks)))


if __name__ == "__main__":
    main()
