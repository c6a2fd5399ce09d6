"""Constraints: what holds of the weights, whatever the gradients want."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from sweeper.catalog.families import constraints, normalizations
from sweeper.catalog.regularizers.spectral_norm_regularization import matrices
from sweeper.game import Progress, Streams
from sweeper.trial.step import play_round
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import Linear, Point, examples, game, gap, origin

KINDS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "convolution": lambda: nn.Conv2d(6, 5, 3, padding=1),
    "transposed convolution": lambda: nn.ConvTranspose2d(6, 5, 4, 2, 1),
}


def layer(kind: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return KINDS[kind]().double()


def inputs(kind: str, n: int = 3) -> Tensor:
    return examples(n, 6) if kind == "linear" else examples(n, 6, 8, 8)


@check("spectral_norm")
def singular_values_of_one() -> Iterator[Claim]:
    constraint = constraints["spectral_norm"].make(iterations=5)
    for kind in KINDS:
        constrained = constraint(layer(kind))
        for _ in range(50):
            constrained(inputs(kind))
        constrained.eval()
        values = torch.linalg.svdvals(matrices(constrained)[0].detach())
        yield Claim(f"{kind}: largest singular value", values[0].item(), 1)
        before = constrained(inputs(kind))
        with torch.no_grad():
            constrained.get_parameter("parametrizations.weight.original").mul_(7)
        yield Claim(f"{kind}: other output for 7W", gap(constrained(inputs(kind)), before), 0)
    constrained = constraint(layer("linear"))
    for _ in range(50):
        constrained(inputs("linear"))
    x, y = examples(1000, 6), examples(1000, 6, seed=1)
    with torch.no_grad():
        ratio = (constrained(x) - constrained(y)).norm(dim=1) / (x - y).norm(dim=1)
    yield Claim("output distance over input distance, at most", max(1.0, ratio.max().item()), 1)


@check("weight_norm")
def lengths_of_their_own() -> Iterator[Claim]:
    for kind in KINDS:
        plain, constrained = layer(kind), constraints["weight_norm"].make()(layer(kind))
        x = inputs(kind)
        before = constrained(x)
        yield Claim(f"{kind}: output off the plain layer's", gap(before, plain(x)), 0)
        g, v = (constrained.get_parameter(f"parametrizations.weight.original{i}") for i in (0, 1))
        yield Claim(f"{kind}: lengths, one per output", float(g.numel()), 5)
        with torch.no_grad():
            v.mul_(3)
        yield Claim(f"{kind}: other output for 3v", gap(constrained(x), before), 0)
        with torch.no_grad():
            g.copy_(torch.arange(1.0, 6.0).reshape(g.shape))
        lengths = matrices(constrained)[0].norm(dim=1)
        yield Claim(f"{kind}: ‖w‖ off g", gap(lengths, torch.arange(1.0, 6.0)), 0)


@check("weight_clipping")
def weights_in_a_box() -> Iterator[Claim]:
    d = Linear([0.0])
    constraint = constraints["weight_clipping"].make(clip=0.01)
    gan = game(d, Point([1.0]), lr=1.0, constraint=constraint)
    progress, largest = Progress(Streams(0), horizon=1000), list[float]()
    for _ in range(5):
        play_round(gan, origin, progress, {})
        largest.append(d.weight.abs().max().item())
    yield Claim("largest weight after each of five steps", max(largest), 0.01, 1e-9)
    first, last = layer("linear"), layer("linear").requires_grad_(False)
    network = nn.Sequential(first, normalizations["batch_norm"].make(5), last)
    network[1].get_buffer("running_var").fill_(5.0)
    before = [p.clone() for p in last.parameters()]
    constraint(network)
    scale = network[1].get_parameter("weight").max().item()
    yield Claim("scales of a normalization are weights", scale, 0.01, 1e-9)
    variance = network[1].get_buffer("running_var").max().item()
    yield Claim("its statistics are not", variance, 5)
    changed = max(map(gap, last.parameters(), before))
    yield Claim("change of a frozen layer", changed, 0)
    before = [p.clone() for p in first.parameters()]
    constraints["weight_clipping"].make(clip=math.inf)(network)
    yield Claim("change by an infinite clip", max(map(gap, first.parameters(), before)), 0)
