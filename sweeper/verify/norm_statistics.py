"""Normalizations by statistics of the activations, against their formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from threading import Barrier, Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, layer_norm

from sweeper.catalog.families import activations, normalizations
from sweeper.catalog.normalizations.local_context_norm import window_means
from sweeper.catalog.normalizations.sparse_switchable_norm import sparsemax, sparsestmax
from sweeper.game import Context, Coupled, Layers, Paced, Progress, Ranks, Streams
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import examples, gap

CORNER = (2 / 3) ** 0.5
"""How far the corners of a triangle of shares are from its centre."""


def norm(name: str, channels: int = 4, **knobs: Any) -> nn.Module:
    """A normalization, in double precision."""
    entry = normalizations[name]
    offered = {"channels": channels, "layers": Layers()}
    made: nn.Module = entry.make(*[offered[asked] for asked in entry.asks], **knobs)
    return made.double()


def of(name: str, x: Tensor, context: Context | None = None, **knobs: Any) -> Tensor:
    """What a fresh normalization, in training, makes of activations."""
    y: Tensor = norm(name, x.shape[1], **knobs)(x, context or Context())
    return y


def standard(x: Tensor, over: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """The formula of them all."""
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


def maps(n: int = 6, channels: int = 4) -> Tensor:
    """Activations whose channels and examples differ in mean and spread."""
    spread = examples(n, channels, 1, 1, seed=1).abs() + 0.5
    return spread * examples(n, channels, 5, 5) + 2 * examples(n, channels, 1, 1, seed=2)


def touched(name: str, **knobs: Any) -> float:
    """The largest slope of what becomes of one example along another."""
    x = maps().requires_grad_()
    (slope,) = torch.autograd.grad(of(name, x, **knobs)[0].square().sum(), x)
    return slope[1:].abs().max().item()


class Neighbours(Ranks):
    """Ranks that are threads of this process; what one is told is a function of all of them."""

    def __init__(self, rank: int, said: list[Tensor], barrier: Barrier) -> None:
        self.rank, self.size = rank, len(said)
        self.said, self.barrier = said, barrier

    def _all(self, x: Tensor) -> list[Tensor]:
        self.said[self.rank] = x
        self.barrier.wait()
        everyone = list(self.said)
        self.barrier.wait()
        return everyone

    def sum(self, x: Tensor) -> Tensor:
        return torch.stack(self._all(x)).sum(0)

    def mean(self, x: Tensor) -> Tensor:
        return self.sum(x) / self.size

    def gathered(self, rows: Tensor) -> Tensor:
        return torch.stack(self._all(rows), 1).flatten(0, 1)


def in_parts(
    module: nn.Module, parts: Sequence[Tensor], told: Sequence[Context] | None = None
) -> Tensor:
    """What ranks make of their parts of a batch, all at once, each by its copy of a module."""
    contexts = told or [Context() for _ in parts]
    said, barrier = [torch.empty(0)] * len(parts), Barrier(len(parts), timeout=60)
    made = [torch.empty(0)] * len(parts)

    def one(rank: int, module: nn.Module) -> None:
        for part in module.modules():
            if isinstance(part, Coupled):
                part.ranks = Neighbours(rank, said, barrier)
        made[rank] = module(parts[rank], contexts[rank])

    threads = [Thread(target=one, args=(i, deepcopy(module))) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return torch.cat(made)


def apart(name: str, shares: Sequence[int], **knobs: Any) -> tuple[float, float]:
    """How far ranks with shares of a batch are from one rank with all of it: what they make of it,
    and the slopes."""
    x, module = maps(sum(shares)).requires_grad_(), norm(name, **knobs)
    weights = examples(*x.shape, seed=3)
    several = in_parts(module, torch.split(x, list(shares)))
    one = module(x, Context())
    slopes = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (one, several)]
    return gap(several, one), gap(slopes[1], slopes[0])


def as_evaluated(name: str, expected: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Claim:
    """In evaluation, the statistics are those that ran along: a quarter of one batch's."""
    module, x = norm(name, momentum=0.25), maps()
    module(x, Context())
    mean = 0.25 * x.mean((0, 2, 3), keepdim=True)
    variance = 0.75 + 0.25 * x.var((0, 2, 3), keepdim=True)
    other = 10 * examples(2, 4, 5, 5, seed=4)
    found = module.eval()(other, Context())
    what = "in evaluation: by running statistics, the variance unbiased, off by"
    return Claim(what, gap(found, expected(other, mean, variance)), 0)


def plainly(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (x - mean) / (variance + 1e-5).sqrt()


@check("batch_norm")
def over_the_batch() -> Iterator[Claim]:
    x = maps()
    yield Claim("over N, H, W, off by", gap(of("batch_norm", x), standard(x, (0, 2, 3))), 0)
    yield as_evaluated("batch_norm", plainly)
    yield from two_ranks_are_one("batch_norm", (4, 3))


@check("layer_norm", "instance_norm", "group_norm", "none")
def over_each_example() -> Iterator[Claim]:
    x = maps()
    yield Claim(
        "layer_norm over C, H, W, off by", gap(of("layer_norm", x), standard(x, (1, 2, 3))), 0
    )
    yield Claim(
        "instance_norm over H, W, off by", gap(of("instance_norm", x), standard(x, (2, 3))), 0
    )
    halves = torch.cat([standard(half, (1, 2, 3)) for half in x.chunk(2, 1)], 1)
    yield Claim("group_norm of 2 groups, off by", gap(of("group_norm", x, groups=2), halves), 0)
    for groups, same in ((1, "layer_norm"), (4, "instance_norm")):
        off = gap(of("group_norm", x, groups=groups), of(same, x))
        yield Claim(f"group_norm of {groups} groups is {same}, off by", off, 0)
    for name in ("layer_norm", "instance_norm", "group_norm"):
        yield Claim(f"{name}: slope along other examples", touched(name), 0, 0)
    yield Claim("none changes activations by", gap(of("none", x), x), 0, 0)


def two_ranks_are_one(
    name: str, shares: Sequence[int], told: str = "", **knobs: Any
) -> Iterator[Claim]:
    said = f"{told or name} on ranks of {' and '.join(map(str, shares))} examples"
    for what, off in zip(("outputs", "slopes"), apart(name, shares, **knobs), strict=True):
        yield Claim(f"{said} is that on one: {what} off by", off, 0, 1e-10)


@check("sync_batch_norm")
def over_all_ranks() -> Iterator[Claim]:
    x = maps()
    for algorithm in ("one_reduce", "two_reduce"):
        alone = gap(of("sync_batch_norm", x, algorithm=algorithm), of("batch_norm", x))
        yield Claim(f"{algorithm} on one rank is batch_norm, off by", alone, 0)
        yield from two_ranks_are_one("sync_batch_norm", (4, 3), algorithm, algorithm=algorithm)
    far = maps(6).float() + 3000
    expected = of("batch_norm", far.double())
    off = {
        algorithm: gap(
            in_parts(norm("sync_batch_norm", algorithm=algorithm).float(), far.chunk(2)), expected
        )
        for algorithm in ("one_reduce", "two_reduce")
    }
    safe = float(off["two_reduce"] < 0.01 < off["one_reduce"])
    yield Claim("far from 0, in single precision, two_reduce is exact, one_reduce is not", safe, 1)


@check("switchable_norm")
def a_blend() -> Iterator[Claim]:
    x, kinds = maps(), ("instance_norm", "layer_norm", "batch_norm")
    for k, same in enumerate(kinds):
        module = norm("switchable_norm")
        one_hot(module, k)
        off = gap(module(x, Context()), of(same, x))
        yield Claim(f"all weight on one candidate is {same}, off by", off, 0)
    module = norm("switchable_norm")
    module(x, Context()).pow(3).sum().backward()
    for logits in (module.get_parameter("mean_logits"), module.get_parameter("variance_logits")):
        assert logits.grad is not None
        yield Claim("weights that learn, of 3", logits.grad.count_nonzero().item(), 3)
        yield Claim("they add up to 1: the sum of their slopes", logits.grad.sum().item(), 0)
    over = [(2, 3), (1, 2, 3), (0, 2, 3)]
    mean = torch.stack([x.mean(o, keepdim=True).expand_as(x) for o in over]).mean(0)
    variance = torch.stack([x.var(o, correction=0, keepdim=True).expand_as(x) for o in over])
    expected = (x - mean) / (variance.mean(0) + 1e-5).sqrt()
    yield Claim("at first, thirds of each, off by", gap(of("switchable_norm", x), expected), 0)
    for k, same in enumerate(kinds[:2]):
        module = norm("switchable_norm", with_batch=False)
        one_hot(module, k)
        off = gap(module(x, Context()), of(same, x))
        yield Claim(f"without the batch: all on one is {same}, off by", off, 0)
    lone = touched("switchable_norm", with_batch=False)
    yield Claim("without the batch: slope along other examples", lone, 0, 0)
    yield from two_ranks_are_one("switchable_norm", (4, 3))


@torch.no_grad()
def one_hot(module: nn.Module, k: int) -> None:
    """Give one candidate all the weight."""
    for logits in (module.get_parameter("mean_logits"), module.get_parameter("variance_logits")):
        logits.zero_()
        logits[k] = 40


@check("sparse_switchable_norm")
def a_choice() -> Iterator[Claim]:
    z = torch.tensor([0.3, 0.1, -0.1], dtype=torch.float64)
    third = torch.full_like(z, 1 / 3)
    yield Claim("sparsemax of what lies within, off by", gap(sparsemax(z), z + 0.7 / 3), 0)
    edge = torch.tensor([0.75, 0.25, 0.0], dtype=torch.float64)
    wide = torch.tensor([0.9, 0.4, -0.8], dtype=torch.float64)
    yield Claim("sparsemax of what lies far out, off by", gap(sparsemax(wide), edge), 0)
    for r in (0.0, 0.2, 0.35, 0.6, 0.75, CORNER):
        p = sparsestmax(z, torch.tensor(r, dtype=torch.float64))
        yield Claim(f"r = {r:.3g}: shares add up to", p.sum().item(), 1)
        yield Claim(f"r = {r:.3g}: none is negative, the least or 0", min(p.min().item(), 0.0), 0)
        yield Claim(
            f"r = {r:.3g}: at least so far out, short by",
            max(r - (p - third).norm().item(), 0.0),
            0,
        )
    yield Claim(
        "r = 0 is sparsemax, off by", gap(sparsestmax(z, torch.tensor(0.0)), sparsemax(z)), 0
    )
    r = 0.6
    half = ((r**2 - 1 / 6) / 2) ** 0.5
    expected = torch.tensor([0.5 + half, 0.5 - half, 0.0], dtype=torch.float64)
    yield Claim(
        "on the edge ½ ± √(r² - 1/6) / √2, off by",
        gap(sparsestmax(z, torch.tensor(r).double()), expected),
        0,
    )
    corner = sparsestmax(z, torch.tensor(CORNER).double())
    yield Claim("r = √6/3: all on the largest, off by", gap(corner, torch.eye(3)[0]), 0, 1e-5)
    yield from the_choice_stays()


def the_choice_stays() -> Iterator[Claim]:
    x, kinds = maps(), ("instance_norm", "layer_norm", "batch_norm")
    for k, same in enumerate(kinds):
        module = norm("sparse_switchable_norm", radius_anneal=0.5)
        assert isinstance(module, Paced)
        tilt(module, k)
        progress = Progress(Streams(0), horizon=100, images=25)
        module.pace(progress)
        off = abs(module.get_buffer("radius").item() - CORNER / 2)
        yield Claim(f"towards {same}: at half of radius_anneal, half the radius, off by", off, 0)
        progress.images = 50
        module.pace(progress)
        yield Claim(f"then it is {same}, off by", gap(module(x, Context()), of(same, x)), 0, 1e-9)
        tilt(module, (k + 1) % 3)
        module.pace(progress)
        found = module.eval()(x, Context()) if k < 2 else norm("batch_norm")(x, Context())
        yield Claim("and stays so when the logits turn, off by", gap(found, of(same, x)), 0, 1e-9)
    yield from two_ranks_are_one("sparse_switchable_norm", (4, 3))


@torch.no_grad()
def tilt(module: nn.Module, k: int) -> None:
    """Prefer one candidate a little."""
    for logits in (module.get_parameter("mean_logits"), module.get_parameter("variance_logits")):
        logits.copy_(torch.tensor([0.1, 0.0, -0.1]).roll(k))


@check("region_norm")
def by_regions() -> Iterator[Claim]:
    x = maps()
    mask = (examples(6, 1, 5, 5, seed=5) > 0).double()
    masked, basic = Context(mask=mask), {"variant": "basic"}
    y = of("region_norm", x, masked, **basic)
    for what, m in (("inside", mask), ("outside", 1 - mask)):
        where = m.expand_as(x).bool()
        for c in range(2):
            own = x[:, c][where[:, c]]
            off = gap(y[:, c][where[:, c]], standard(own, (0,)))
            yield Claim(f"{what}, channel {c}: standardised by itself, off by", off, 0)
    one = of("region_norm", x, Context(mask=torch.ones_like(mask)), **basic)
    yield Claim("a mask of ones is batch_norm, off by", gap(one, of("batch_norm", x)), 0)
    share = mask.mean()
    mean = (x * mask).sum((0, 2, 3), keepdim=True) / mask.sum()
    filled = of("batch_norm", x * mask + (1 - mask) * mean, eps=1e-12) * share.sqrt()
    same = of("region_norm", x, masked, eps=1e-12, **basic) * mask
    yield Claim(
        "the mask filled with its mean, in batch_norm, times √share, off by", gap(filled, same), 0
    )
    leaf = x.clone().requires_grad_()
    inside = of("region_norm", leaf, masked, **basic) * mask
    (slope,) = torch.autograd.grad(inside.square().sum(), leaf)
    yield Claim("slope of the inside along the outside", gap(slope * (1 - mask), 0 * x), 0, 0)
    sample = of("region_norm", x, Context(mask=torch.ones_like(mask)), stats="sample", **basic)
    yield Claim(
        "by sample, a mask of ones is instance_norm, off by", gap(sample, of("instance_norm", x)), 0
    )
    yield Claim(
        "by sample: slope along other examples", touched("region_norm", stats="sample"), 0, 0
    )
    yield from two_ranks_are_one("region_norm", (4, 3))


@check("local_context_norm")
def by_neighbourhoods() -> Iterator[Claim]:
    x = maps()
    for size, same in ((1, "instance_norm"), (4, "layer_norm")):
        off = gap(of("local_context_norm", x, window=5, channels_per_group=size), of(same, x))
        yield Claim(f"a window of all, {size} channels a group: {same}, off by", off, 0)
    whole, groups = of("local_context_norm", x, window=65), of("group_norm", x, groups=2)
    yield Claim("a window of more than all is group_norm, off by", gap(whole, groups), 0)
    for high, wide in ((3, 3), (2, 4), (5, 5)):
        means = window_means(x, high, wide)
        off = gap(means, avg_pool2d(x, (high, wide), 1))
        yield Claim(f"means of windows of {high} by {wide}, off by", off, 0)
    y = of("local_context_norm", x, window=3)
    around = x[0, 2:4, 1:4, 1:4]
    expected = (x[0, 2:4, 2, 2] - around.mean()) / (around.var(correction=0) + 1e-5).sqrt()
    yield Claim("the place in the middle, off by", gap(y[0, 2:4, 2, 2], expected), 0)
    around = x[0, :2, :3, :3]
    expected = (x[0, :2, 0, 0] - around.mean()) / (around.var(correction=0) + 1e-5).sqrt()
    yield Claim(
        "the place in the corner, by the nearest window, off by", gap(y[0, :2, 0, 0], expected), 0
    )
    yield Claim("slope along other examples", touched("local_context_norm", window=3), 0, 0)
    leaf = x.clone().requires_grad_()
    held = of("local_context_norm", leaf, window=5, channels_per_group=1, stats_grad=False)
    (slope,) = torch.autograd.grad(held.sum(), leaf)
    expected = (x.var((2, 3), correction=0, keepdim=True) + 1e-5).rsqrt().expand_as(x)
    yield Claim("without stats_grad, the slope is 1/σ, off by", gap(slope, expected), 0)


@check("channel_norm")
def over_channels() -> Iterator[Claim]:
    x = maps()
    last = layer_norm(x.movedim(1, -1), [4], eps=1e-3).movedim(-1, 1)
    yield Claim("layer norm of each place, off by", gap(of("channel_norm", x), last), 0)
    moved = of("channel_norm", x.flip(2).mT).mT.flip(2)
    yield Claim("places that change places, off by", gap(moved, of("channel_norm", x)), 0)
    yield Claim("one channel becomes", of("channel_norm", x[:, :1]).abs().max().item(), 0)


@check("channel_l2_norm", "pixel_norm")
def lengths_over_channels() -> Iterator[Claim]:
    x = maps()
    for degree in (1, 2):
        y = of("channel_l2_norm", x, norm_deg=degree)
        lengths = torch.linalg.vector_norm(y, degree, dim=1)
        off = gap(lengths, torch.ones_like(lengths))
        yield Claim(f"channel_l2_norm, p = {degree}: lengths are 1, off by", off, 0)
    y, z = of("pixel_norm", x, eps=1e-16), of("channel_l2_norm", x)
    yield Claim(
        "pixel_norm: the mean square is 1, off by", gap(y.square().mean(1), torch.ones(6, 5, 5)), 0
    )
    yield Claim("channel_l2_norm is pixel_norm over √C, off by", gap(z, y / 2), 0)
    for name in ("channel_l2_norm", "pixel_norm"):
        yield Claim(f"{name}: other output for 7x", gap(of(name, 7 * x), of(name, x)), 0)
        few = x[:1, :, :2, :2].clone().requires_grad_()
        module = norm(name)
        told = partial(module, context=Context())
        first = torch.autograd.gradcheck(told, few, raise_exception=False)
        second = torch.autograd.gradgradcheck(told, few, raise_exception=False)
        yield Claim(f"{name}: slopes that are right, first and second", float(first + second), 2)
        nothing = torch.zeros(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(module(nothing, Context()).sum(), nothing, create_graph=True)
        odd = (~slope.isfinite()).sum().item()
        yield Claim(f"{name}: slopes at 0 that are not finite", odd, 0, 0)


@check("extended_batch_norm")
def one_variance() -> Iterator[Claim]:
    x = maps()
    mean = x.mean((0, 2, 3), keepdim=True)
    whole, about = x.var(correction=0), (x - mean).square().mean()
    for center, variance in (("global", whole), ("channel", about)):
        expected = (x - mean) / (variance + 1e-5).sqrt()
        off = gap(of("extended_batch_norm", x, center=center), expected)
        yield Claim(f"{center}: by one variance, off by", off, 0)
        one = of("extended_batch_norm", x[:, :1], center=center)
        yield Claim(
            f"{center}: of one channel, batch_norm, off by", gap(one, of("batch_norm", x[:, :1])), 0
        )
        yield from two_ranks_are_one("extended_batch_norm", (4, 3), center, center=center)
    difference = (whole - about - mean.var(correction=0)).item()
    yield Claim("the variances differ by that of the means, but for", difference, 0)
    both = [of("extended_batch_norm", x - mean, center=c) for c in ("global", "channel")]
    yield Claim("centred before, they are the same, off by", gap(*both), 0)
    square = of("extended_batch_norm", x, center="channel", eps=1e-12).square().mean().item()
    yield Claim("channel: mean square of all", square, 1)


@check("l1_batch_norm")
def by_absolute_deviations() -> Iterator[Claim]:
    x = maps()
    y = of("l1_batch_norm", x, rescale=False, eps=1e-12)
    yield Claim("mean |y| of each channel, off by", gap(y.abs().mean((0, 2, 3)), torch.ones(4)), 0)
    yield Claim("mean y of each channel, off by", gap(y.mean((0, 2, 3)), torch.zeros(4)), 0)
    normal = examples(200, 2, 10, 10)
    ratio = (of("batch_norm", normal) / of("l1_batch_norm", normal)).mean().item()
    yield Claim("of normal numbers, rescaled: σ over √(π/2) σ_1", ratio, 1, 0.01)
    yield from two_ranks_are_one("l1_batch_norm", (4, 3))


@check("filter_response_norm", "tlu")
def filters_and_thresholds() -> Iterator[Claim]:
    x, name = maps(), "filter_response_norm"
    square = of(name, x, eps=1e-12).square().mean((2, 3))
    yield Claim("mean y² of each map, off by", gap(square, torch.ones(6, 4)), 0)
    scaled = gap(of(name, 7 * x, eps=1e-12), of(name, x, eps=1e-12))
    yield Claim("other output for 7x", scaled, 0)
    flat = of(name, torch.full((1, 1, 3, 3), -5.0, dtype=torch.float64)).mean().item()
    yield Claim("a map of -5 becomes", flat, -1)
    yield Claim("slope along other examples", touched(name), 0, 0)
    point = of(name, torch.tensor([[0.01]], dtype=torch.float64), learnable_eps=True).item()
    yield Claim(
        "one place of 0.01, ε learnt from 1e-4", point, 0.01 / (1e-4 + 1.01e-4) ** 0.5, 1e-3
    )
    tlu = activations["tlu"].make(4).double()
    yield Claim("tlu at τ = 0 is relu, off by", gap(tlu(x), x.relu()), 0, 0)
    with torch.no_grad():
        tlu.get_parameter("threshold").copy_(torch.tensor([-1.0, -0.5, 0.5, 1.0]))
    y = tlu(x)
    expected = torch.maximum(x, tlu.get_parameter("threshold")[:, None, None])
    yield Claim("tlu is max(x, τ), off by", gap(y, expected), 0)
    y.sum().backward()
    below = (x < tlu.get_parameter("threshold")[:, None, None]).sum((0, 2, 3)).double()
    slope = tlu.get_parameter("threshold").grad
    assert slope is not None
    yield Claim("the slope along τ counts what lies below, off by", gap(slope, below), 0)


@check("instance_enhancement_batch_norm")
def enhanced() -> Iterator[Claim]:
    x, name = maps(), "instance_enhancement_batch_norm"
    expected = 0.2689414213699951 * of("batch_norm", x)
    yield Claim("at first, 0.26894 of batch_norm, off by", gap(of(name, x), expected), 0)
    more = sum(p.numel() for p in norm(name).parameters()) - 2 * 4
    yield Claim("parameters beside batch_norm's, of 4 channels", more, 8)
    module = norm(name)
    with torch.no_grad():
        module.get_parameter("slope").fill_(1.0)
    expected = of("batch_norm", x) * (x.mean((2, 3), keepdim=True) - 1).sigmoid()
    yield Claim("by the mean of each map, off by", gap(module(x, Context()), expected), 0)
    yield as_evaluated(name, lambda *given: 0.2689414213699951 * plainly(*given))
    yield from two_ranks_are_one(name, (4, 3))


@check("attentive_norm")
def attended() -> Iterator[Claim]:
    x = maps()
    for base, same in (("batch", "batch_norm"), ("group", "group_norm")):
        module = norm("attentive_norm", base=base, components=2)
        with torch.no_grad():
            module.get_parameter("attention.weight").zero_()
            module.get_parameter("mixed.scales").fill_(1.0)
            module.get_parameter("mixed.shifts").zero_()
        off = gap(module(x, Context()), of(same, x))
        yield Claim(f"{base}: Γ = 1, B = 0 and shares of ½ make {same}, off by", off, 0)
        with torch.no_grad():
            module.get_parameter("mixed.scales").mul_(3.0)
            module.get_parameter("mixed.shifts").add_(5.0)
        expected = 3 * of(same, x) + 5
        off = gap(module(x, Context()), expected)
        yield Claim(f"{base}: Γ = 3, B = 5 scale and shift it, off by", off, 0)
    lone = touched("attentive_norm", base="group")
    yield Claim("group: slope along other examples", lone, 0, 1e-12)
    module = norm("attentive_norm", components=3)
    with torch.no_grad():
        shares: Tensor = module.shares(x)  # type: ignore[operator]
    yield Claim(
        "shares that differ between examples, of 18", float(len(set(shares.flatten().tolist()))), 18
    )
    attention = module.get_parameter("attention.weight")
    summary = x.mean((2, 3)) / (x.var((2, 3), correction=0) + 1e-3).sqrt()
    expected = (standard(summary @ attention.T, (0,)) / 6 + 0.5).clamp(0, 1)
    yield Claim("shares by their formula, off by", gap(shares, expected), 0)
