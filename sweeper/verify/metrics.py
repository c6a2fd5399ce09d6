"""Metrics, between points and features whose distances are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, Side, Wanted
from sweeper.catalog.metrics.frechet import Moments, frechet_distance, statistics
from sweeper.verify.claims import Claim, check


def drawn(n: int, d: int = 2, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double() + shift


def side(x: Tensor, **more: Any) -> Side:
    """A side whose features are its examples."""
    return Side(x, x, **more)


def found(name: str, compared: Compared, **knobs: Any) -> dict[str, float]:
    return dict(metrics[name].make(**knobs)(compared))


def between(name: str, real: Tensor, fake: Tensor, **knobs: Any) -> float:
    """The first value of a metric."""
    return next(iter(found(name, Compared(side(real), side(fake)), **knobs).values()))


@check("fid_infinity")
def frechet() -> Iterator[Claim]:
    a = drawn(500, 8)
    b = a @ torch.diag(torch.linspace(0.5, 2, 8).double())
    covariances = [x.T.cov() for x in (a, b)]
    values = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0)
    trace = sum(c.trace() for c in covariances) - 2 * values.sqrt().sum()
    by_definition = float(trace + (a.mean(0) - b.mean(0)).square().sum())
    pair = statistics(a), statistics(b)
    yield Claim("the Fréchet distance, by its definition", frechet_distance(*pair), by_definition)
    yield Claim("between a set and itself", frechet_distance(pair[0], pair[0]), 0, 1e-9)
    shifted = frechet_distance(pair[0], statistics(a + 1))
    yield Claim("a shift by 1 in 8 dimensions", shifted, 8, 1e-9)
    moments = Moments()
    for chunk in torch.split(a, 7):
        moments.add(chunk)
    once = frechet_distance(moments.statistics(), pair[1])
    yield Claim("in one pass over chunks of 7", once, by_definition)
    few, shift, d = 100, 0.2, 8
    real = statistics(drawn(20_000, d, 10**6))
    fakes = [drawn(few, d, seed, shift) for seed in range(60)]
    plain = sum(frechet_distance(real, statistics(fake)) for fake in fakes) / len(fakes)
    reference = drawn(20_000, d, 10**6)
    endless = sum(between("fid_infinity", reference, fake) for fake in fakes) / len(fakes)
    truth = d * shift**2
    left = (endless - truth) / (plain - truth)
    yield Claim("the bias of 100 fakes that extrapolation leaves", left, 0, 0.15)


@check("kid")
def kernel_distance() -> Iterator[Claim]:
    shift = 0.5
    # The kernel (x y + 1)³ compares the first three moments, in weights 3, 3 and 1.
    truth = 3 * shift**2 + 3 * shift**4 + (shift**3 + 3 * shift) ** 2
    means, intervals = list[float](), 0
    for seed in range(50):
        compared = Compared(side(drawn(400, 1, 2 * seed)), side(drawn(400, 1, 2 * seed + 1, shift)))
        values = found("kid", compared, subsets=4, size=400)
        means.append(values["kid"])
        intervals += values["kid_low"] <= truth <= values["kid_high"]
    mean, spread = torch.tensor(means).mean(), torch.tensor(means).std() / 50**0.5
    yield Claim("the mean of 50, of N(0, 1) and N(½, 1)", float(mean), truth, 4 * float(spread))
    yield Claim("the share of intervals that hold it", intervals / 50, 0.95, 0.1)


@check("inception_score")
def score_of_classes() -> Iterator[Claim]:
    for classes in (2, 10):
        sure = 1e3 * torch.eye(classes).double().repeat(20, 1)
        fake = Side(sure, sure, logits=sure)
        value = found("inception_score", Compared(fake, fake), splits=1)["inception_score"]
        yield Claim(f"{classes} classes, each told for sure", value, classes)
        unsure = Side(sure, sure, logits=torch.zeros_like(sure))
        value = found("inception_score", Compared(fake, unsure))["inception_score"]
        yield Claim(f"{classes} classes, none told", value, 1)


@check("precision_recall", "density_coverage")
def neighbourhoods() -> Iterator[Claim]:
    real = torch.cat([drawn(200), drawn(200, seed=1, shift=50.0)])
    tests = {"one kind of two, twice": torch.cat([real[:200]] * 2), "another kind": real - 200}
    for what, fake in tests.items():
        one = 1.0 if "two" in what else 0.0
        values = found("precision_recall", Compared(side(real), side(fake)))
        yield Claim(f"precision of {what}", values["precision"], one)
        yield Claim(f"recall of {what}", values["recall"], one / 2)
        values = found("density_coverage", Compared(side(real), side(fake)))
        yield Claim(f"coverage of {what}", values["coverage"], one / 2)
    values = found("density_coverage", Compared(side(drawn(1000)), side(drawn(1000, seed=1))))
    yield Claim("density of real examples", values["density"], 1, 0.1)
    yield Claim("coverage of real examples, 1 - 2⁻⁵", values["coverage"], 31 / 32, 0.03)


@check("class_fid")
def each_class() -> Iterator[Claim]:
    x, labels = drawn(90, 4), torch.arange(90) % 3
    moved = torch.where(labels[:, None] == 2, x + 3, x)
    real, fake = side(x, labels=labels), side(moved, labels=labels)
    values = found("class_fid", Compared(real, fake, classes=3))
    for c, distance in enumerate((0, 0, 4 * 9)):
        yield Claim(f"class {c}", values[f"class_fid_{c}"], distance, 1e-9)
    yield Claim("the worst", values["class_fid_worst"], 36)
    yield Claim("the mean", values["class_fid_mean"], 12)
    votes = Side(x, x, logits=torch.eye(3)[labels.clamp(max=1)])
    values = found("class_fid", Compared(real, votes, classes=3))
    yield Claim("a class that is never made", values["class_fid_worst"], math.inf)


@check("mode_coverage")
def modes() -> Iterator[Claim]:
    centres = 10 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    mixture = side(centres.repeat(500, 1) + 0.1 * drawn(2000))
    values = found("mode_coverage", Compared(mixture, mixture, 0, centres, 0.1))
    yield Claim("modes that all four are", values["modes"], 4)
    # A Gaussian in the plane lies beyond three deviations with probability exp(-9/2).
    yield Claim("within three deviations", values["quality"], 1 - math.exp(-4.5), 0.01)
    yield Claim("reverse KL of all four", values["reverse_kl"], 0, 1e-3)
    one = side(centres[:1].repeat(100, 1))
    values = found("mode_coverage", Compared(mixture, one, 0, centres, 0.1))
    yield Claim("modes of a collapsed G", values["modes"], 1)
    yield Claim("reverse KL of a collapsed G: ln 4", values["reverse_kl"], math.log(4))
    labels = torch.arange(1000) % 10
    votes = Side(drawn(1000), drawn(1000), logits=torch.eye(10)[labels % 5])
    of_classes = Compared(side(drawn(1000), labels=labels), votes, classes=10)
    values = found("mode_coverage", of_classes)
    yield Claim("classes, by votes, of which half are made", values["modes"], 5)
    yield Claim("reverse KL of half the classes: ln 2", values["reverse_kl"], math.log(2), 0.05)


@check("wasserstein_estimate", "sliced_wasserstein", "js_divergence_toy")
def ways_to_go() -> Iterator[Claim]:
    x = drawn(300)
    moved = x + torch.tensor([3.0, 4.0])
    yield Claim("W₁ of a shift by 5", between("wasserstein_estimate", x, moved, size=300), 5)
    sliced = between("sliced_wasserstein", x, moved)
    yield Claim("sliced W₂ of a shift by 5: 5 / √2", sliced, 5 / 2**0.5)
    yield Claim("sliced W₂ of none", between("sliced_wasserstein", x, x), 0)
    here = torch.zeros(10, 2)
    for away in (1.0, 10.0):
        there = here + torch.tensor([away, 0.0])
        what = f"of point masses {away:g} apart"
        yield Claim(f"W₁ {what}", between("wasserstein_estimate", here, there), away)
        js = between("js_divergence_toy", here, there)
        yield Claim(f"Jensen-Shannon divergence {what}: ln 2", js, math.log(2))
    yield Claim("Jensen-Shannon divergence of none", between("js_divergence_toy", x, x), 0)


@check("memorisation")
def copies() -> Iterator[Claim]:
    training, fresh = drawn(1000, 8), drawn(200, 8, 1)
    half = torch.cat([training[:200], fresh])
    tests = {"fresh samples": (fresh, 0.0), "copies": (training[:200], 1.0), "both": (half, 0.5)}
    for what, (fake, share) in tests.items():
        values = found("memorisation", Compared(side(fresh), side(fake), training=side(training)))
        yield Claim(f"share of {what} that are memorised", values["memorised"], share, 0.02)
        if what != "both":
            ratio = values["memorisation_ratio"]
            yield Claim(f"how far {what} are, to what is usual", ratio, 1 - share, 0.1)


@check("target_distance")
def what_they_should_have_become() -> Iterator[Claim]:
    x = drawn(40, 3 * 16).reshape(40, 3, 4, 4).tanh()
    mask = torch.zeros(40, 1, 4, 4)
    mask[:, :, 0] = 1
    off = torch.where(mask == 1, 0.4, 0.1)
    made = Side(x + off, x.flatten(1))
    targets = Side(x, x.flatten(1))
    compared = Compared(targets, made, training=targets, wanted=Wanted(x, -x, mask))
    values = found("target_distance", compared)
    yield Claim("0.4 off in a quarter, 0.1 elsewhere", values["target_l1"], 0.1 + 0.3 / 4)
    yield Claim("the same inside of the mask", values["target_l1_inside"], 0.4)
    mse = 0.16 / 4 + 0.01 * 3 / 4
    yield Claim("its squares", values["target_mse"], mse)
    yield Claim("its peak ratio, in dB", values["target_psnr"], 10 * math.log10(4 / mse))
    copied, mean = 2 * x.abs().mean().item(), (x - x.mean(0)).abs().mean().item()
    yield Claim("the l1 of the negative that it was made from", values["copied_l1"], copied)
    yield Claim("the l1 of the mean target", values["mean_l1"], mean)
    yield Claim("beside the lesser", values["target_ratio"], 0.175 / min(copied, mean))
    perfect = replace(compared, fake=targets)
    yield Claim("the targets themselves", found("target_distance", perfect)["target_l1"], 0)
    unpaired = found("target_distance", replace(compared, wanted=None))
    yield Claim("values without targets", sum(map(math.isfinite, unpaired.values())), 0)


@check("class_recall")
def of_each_class() -> Iterator[Claim]:
    x, labels = drawn(300, 4), torch.arange(300) % 3
    # Of class 1, nothing is made; of class 2, other examples than there are.
    told = torch.where(labels == 1, 0, labels)
    moved = torch.where(labels[:, None] == 2, x + 100, x)
    votes = torch.eye(3)[torch.where(labels == 2, 1, told)].double()
    fake = Side(moved, moved, told, votes)
    values = found("class_recall", Compared(side(x, labels=labels), fake, classes=3))
    for c, recall in enumerate((1, 0, 0)):
        yield Claim(f"class {c}", values[f"class_recall_{c}"], recall)
    yield Claim("the mean", values["class_recall_mean"], 1 / 3)
    yield Claim("the worst", values["class_recall_worst"], 0)
    yield Claim("classes of those told that a classifier hears", values["class_heard"], 1 / 2)
