"""Architectures: how many weights they have, what they compute where it can be told, and how they
grow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from sweeper.catalog.architectures.progressive_growing import Growing, ProgressiveGrowing
from sweeper.catalog.families import architectures, normalizations
from sweeper.game import Batch, Context, Progress, Streams
from sweeper.verify.claims import Claim, check
from sweeper.verify.layers import Plain
from sweeper.verify.toys import examples, gap

C, LATENT = 4, 6
"""The width of the networks at the largest size, and how many latents there are."""


class Bare(Plain):
    """Nothing is normalised."""

    def norm(self, channels: int) -> nn.Module:
        return normalizations["none"].make(channels)


class Normed(Plain):
    """Batch norm everywhere."""

    def norm(self, channels: int) -> nn.Module:
        return normalizations["batch_norm"].make(channels)


def networks(name: str, shape: tuple[int, ...], **knobs: object) -> tuple[Any, Any]:
    """A generator with batch norm and a discriminator without, of float64."""
    architecture = architectures[name].make(**knobs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = architecture.generator(shape, LATENT, Normed())
        judge = architecture.discriminator(shape, Bare())
    return made.double(), judge.double()


def weights(network: nn.Module) -> float:
    return float(sum(p.numel() for p in network.parameters()))


def shapes(g: Any, d: Any, shape: tuple[int, ...]) -> Iterator[Claim]:
    """Images of the shape, within the range of tanh, and a score for each."""
    x = g(30 * examples(5, LATENT), Context())
    yield Claim("fakes of another shape", float(x.shape != (5, *shape)), 0)
    if len(shape) == 3:
        yield Claim("largest pixel, at most", max(1.0, float(x.detach().abs().max())), 1)
    yield Claim("scores of five fakes", float(d(Batch(x)).scores.numel()), 5)


@check("mlp_gan")
def fully_connected() -> Iterator[Claim]:
    h, depth, shape = 16, 3, (2,)
    g, d = networks("mlp_gan", shape, hidden=h, depth=depth)
    yield from shapes(g, d, shape)
    inner = (h + 1) * h * (depth - 1)
    made = (LATENT + 1) * h + inner + 2 * h * depth + (h + 1) * 2
    yield Claim("weights of G", weights(g), made, 0)
    yield Claim("weights of D", weights(d), (2 + 1) * h + inner + h + 1, 0)


@check("dcgan")
def strided() -> Iterator[Claim]:
    shape = (3, 32, 32)
    g, d = networks("dcgan", shape, channels=C)
    yield from shapes(g, d, shape)
    wide = [C, 2 * C, 4 * C]
    between = sum(16 * a * b for a, b in pairwise(wide))
    ends = 16 * LATENT * wide[-1] + 16 * C * 3 + 3
    yield Claim("weights of G", weights(g), ends + between + 2 * sum(wide), 0)
    yield Claim("weights of D", weights(d), 16 * 3 * C + C + between + 16 * wide[-1] + 1, 0)


@check("sndcgan")
def kept_and_halved() -> Iterator[Claim]:
    shape = (3, 32, 32)
    g, d = networks("sndcgan", shape, channels=C)
    yield from shapes(g, d, shape)
    wide = [C, 2 * C, 4 * C, 8 * C]
    between = sum(16 * a * b for a, b in pairwise(wide))
    ends = (16 * LATENT + 1) * wide[-1] + (9 * C + 1) * 3
    yield Claim("weights of G", weights(g), ends + between + 2 * sum(wide), 0)
    kept = sum((9 * a + 1) * b for a, b in pairwise([3, *wide]))
    halved = sum((16 * b + 1) * b for b in wide[:-1])
    yield Claim("weights of D", weights(d), kept + halved + 16 * wide[-1] + 1, 0)
    leak = next(m.negative_slope for m in d.modules() if isinstance(m, nn.LeakyReLU))
    yield Claim("leak of its ReLUs", leak, 0.1)


@check("resnet_gan")
def residues() -> Iterator[Claim]:
    shape = (3, 32, 32)
    g, d = networks("resnet_gan", shape, channels=C)
    yield from shapes(g, d, shape)
    wide = [C, 2 * C, 4 * C]

    def resizing(a: int, b: int) -> int:
        return (9 * a + 1) * b + (9 * b + 1) * b + (a + 1) * b

    ups = sum(resizing(a, b) + 2 * (a + b) for a, b in pairwise([wide[-1], *wide[::-1]]))
    ends = (16 * LATENT + 1) * wide[-1] + 2 * C + (9 * C + 1) * 3
    yield Claim("weights of G", weights(g), ups + ends, 0)
    downs = sum(resizing(a, b) for a, b in pairwise([3, *wide]))
    last = 2 * (9 * wide[-1] + 1) * wide[-1] + wide[-1] + 1
    yield Claim("weights of D", weights(d), downs + last, 0)
    x = examples(4, *shape)
    output = d(Batch(x))
    line = output.features[-1].sum((2, 3)) @ d.head.score.weight[0] + d.head.score.bias
    yield Claim("scores off a line in summed activations", gap(output.scores, line), 0)
    off = 0.0
    for network in (g, d):
        for block in network.blocks:
            off = max(off, without_residue(block))
    yield Claim("blocks off their skip, where the last convolution is 0", off, 0)


@torch.no_grad()
def without_residue(block: Any) -> float:
    """How far a block whose last convolution is 0 is from its skip."""
    for p in block.second.parameters():
        p.zero_()
    x = examples(2, next(iter(block.first.parameters())).shape[1], 8, 8)
    y = block(x, Context())
    if not len(block.skip):
        return gap(y, x)
    conv = next(m for m in block.skip if isinstance(m, nn.Conv2d))
    resized = interpolate(x, scale_factor=2) if y.shape[-1] > x.shape[-1] else avg_pool2d(x, 2)
    return gap(y, conv(resized))


def grown(network: Any, to: float) -> Any:
    for module in network.modules():
        if isinstance(module, Growing):
            module.grown.fill_(to)
    return network


@check("progressive_growing")
@torch.no_grad()
def stages() -> Iterator[Claim]:
    shape, z, x = (3, 32, 32), examples(3, LATENT), examples(3, 3, 32, 32)
    g, d = (network.eval() for network in networks("progressive_growing", shape, channels=C))
    yield from shapes(g, d, shape)
    made = {to: grown(g, to)(z, Context()) for to in (1.0, 1 + 1e-9, 1.25, 2.0)}
    small = interpolate(avg_pool2d(made[1.0], 4), 32)
    yield Claim("the second stage off 8 px, enlarged", gap(made[1.0], small), 0)
    yield Claim("G at α = 0 off the stage before", gap(made[1 + 1e-9], made[1.0]), 0)
    before, half, after = (torch.atanh(made[to]) for to in (1.0, 1.25, 2.0))
    yield Claim("G at α = ¼ off the blend", gap(half, 0.75 * before + 0.25 * after), 0)
    old, new = (grown(d, to)(Batch(x)).scores for to in (1.0, 1 + 1e-9))
    yield Claim("D at α = 0 off the stage before", gap(old, new), 0)
    both = (grown(g, 2.0)(z, Context()), grown(d, 2.0)(Batch(x)).scores)
    for network in (g, d):
        for p in network.images[:2].parameters():
            p.fill_(math.nan)
    alone = (g(z, Context()), d(Batch(x)).scores)
    yield Claim("at α = 1 off the new path alone", max(map(gap, both, alone)), 0)
    yield from paces(x)


def paces(x: Tensor) -> Iterator[Claim]:
    """How far networks are grown after so many images, and how real ones are shown."""
    architecture = ProgressiveGrowing(fade_kimg=2, stable_kimg=1)
    growth = architecture.growth((3, 16, 16))

    def at(images: int) -> Progress:
        return Progress(Streams(0), 10_000, images)

    yield Claim("α after a quarter of the first fade", growth.at(at(1500)), 0.25)
    passed = [growth.at(at(n)) for n in range(0, 10_001, 100)]
    yield Claim("times that it shrinks", float(sum(b < a for a, b in pairwise(passed))), 0)
    yield Claim("stages, from 0, at the end", passed[-1], 2)
    shown = architecture.view("main", Batch(x), lambda name: x, at(1500)).image
    new, old = avg_pool2d(x, 4), interpolate(avg_pool2d(x, 8), scale_factor=2)
    blended = interpolate(0.75 * old + 0.25 * new, scale_factor=4)
    yield Claim("real images off such a blend", gap(shown, blended), 0)
