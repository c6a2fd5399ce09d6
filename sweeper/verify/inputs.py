"""What D is told and shown, and what G is given: labels, noise, augmentation, latents, walks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sweeper.catalog.families import losses, priors, tricks, walks
from sweeper.catalog.tricks.augmentation import Affine, hued, scaling, shifting, turning, warped
from sweeper.catalog.tricks.instance_noise import InstanceNoise
from sweeper.config import Trial
from sweeper.game import Batch, Context, Output, Player, Progress, Scores, Streams, Trick
from sweeper.trial.networks import composed
from sweeper.trial.round import Round
from sweeper.trial.step import play_round
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import Linear, Point, examples, game, gap, origin, turn_of

MANY = 40_000


def at(images: int = 0) -> Progress:
    return Progress(Streams(0), horizon=1000, images=images)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def exact(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def targets(trick: Trick, side: Any, label: float, n: int = MANY, images: int = 0) -> Tensor:
    """What a trick makes of one label, many times."""
    labels = torch.full((n,), label, dtype=torch.float64)
    return trick.targets(labels, side, at(images))


def told(trick: Trick, scores: Tensor) -> Scores:
    """The same scores of real examples and fakes, with the targets that a trick gives them."""
    shown = Batch(torch.zeros(len(scores), 1)), Batch(torch.zeros(len(scores), 1))
    progress = at()
    return Scores(
        lambda batch: Output(scores),
        *shown,
        targets=lambda labels, side: trick.targets(labels, side, progress),
    )


def slope_where(trick: Trick, belief: float) -> float:
    """The slope of D's loss in its score, where D believes so much at a place that holds three in
    four real examples and one in four fakes."""
    here = exact(math.log(belief / (1 - belief))).requires_grad_()
    real, fake = (Batch(torch.zeros(4, 1)) for _ in range(2))
    elsewhere, progress = exact(0, 0, 0), at()

    def score(batch: Batch) -> Output:
        held = 3 if batch is real else 1
        return Output(torch.cat([here.repeat(held), elsewhere[: 4 - held]]))

    scores = Scores(score, real, fake, lambda t, side: trick.targets(t, side, progress))
    loss = losses["non_saturating"].make().discriminator(scores)
    return float(torch.autograd.grad(loss, here)[0])


def within_noise(deviation: float, n: int) -> float:
    """Four standard errors of a mean."""
    return 4 * deviation / math.sqrt(n)


@check("one_sided_label_smoothing")
def one_sided() -> Iterator[Claim]:
    make = tricks["one_sided_label_smoothing"].make
    for low, high in ((0.7, 1.2), (0.9, 1.1), (0.8, 1.0)):
        mean, spread = (low + high) / 2, (high - low) / 2
        t, of = targets(make(alpha=mean, spread=spread), "real", 1.0), f"of U({low}, {high})"
        yield Claim(f"{of}: the lowest real target", t.min().item(), low, 1e-4)
        yield Claim(f"{of}: the highest", t.max().item(), high, 1e-4)
        yield Claim(f"{of}: the mean", t.mean().item(), mean, within_noise(spread / 3**0.5, MANY))
    fixed = make(alpha=0.8)
    yield Claim("a fixed real target", targets(fixed, "real", 1.0).min().item(), 0.8)
    yield Claim("targets of fakes, at most", targets(fixed, "fake", 0.0).max().item(), 0)
    said = exact(2, -1).requires_grad_()
    scores = told(fixed, said)
    (slope,) = torch.autograd.grad(bce(said, scores.real_targets, reduction="sum"), said)
    yield Claim("the slope is σ(r) - t, off by", gap(slope, said.sigmoid() - 0.8), 0)
    yield Claim("the best D is αp / (p + q): slope there", slope_where(fixed, 0.8 * 0.75), 0)
    yield Claim("G pays as without it, off by", told_apart(fixed), 0)


@check("label_smoothing")
def two_sided() -> Iterator[Claim]:
    make = tricks["label_smoothing"].make
    trick = make(eps_real=0.2, eps_fake=0.1)
    yield Claim("the real target", targets(trick, "real", 1.0).min().item(), 0.8)
    yield Claim("the target of fakes", targets(trick, "fake", 0.0).max().item(), 0.1)
    best = 0.8 * 0.75 + 0.1 * 0.25
    yield Claim("slope at ((1 - ε_r) p + ε_f q) / (p + q)", slope_where(trick, best), 0)
    for side, t in (("real", 0.8), ("fake", 0.1)):
        scores = told(trick, exact(math.log(t / (1 - t))))
        least = bce(getattr(scores, side), getattr(scores, f"{side}_targets"))
        entropy = -t * math.log(t) - (1 - t) * math.log(1 - t)
        yield Claim(f"the least loss of the {side} is the entropy", least.item(), entropy)
    one_sided = tricks["one_sided_label_smoothing"].make(alpha=0.8)
    alone = make(eps_real=0.2, eps_fake=0.0, spread=0.0)
    for side, label in (("real", 1.0), ("fake", 0.0)):
        off = gap(targets(alone, side, label), targets(one_sided, side, label))
        yield Claim(f"ε_f = 0 is one-sided smoothing, off by ({side})", off, 0)
    spread = make(eps_real=0.2, eps_fake=0.15, spread=1.0)
    real, fake = targets(spread, "real", 1.0), targets(spread, "fake", 0.0)
    for name, drawn, low, high in (("real", real, 0.6, 1.0), ("fake", fake, 0.0, 0.3)):
        yield Claim(f"spread 1, {name}: the lowest", drawn.min().item(), low, 1e-4)
        yield Claim(f"spread 1, {name}: the highest", drawn.max().item(), high, 1e-4)
        error = within_noise((high - low) / 12**0.5, MANY)
        yield Claim(f"spread 1, {name}: the mean", drawn.mean().item(), (low + high) / 2, error)
    yield Claim("G pays as without it, off by", told_apart(trick), 0)


@check("label_noise")
def noise_on_labels() -> Iterator[Claim]:
    make = tricks["label_noise"].make
    for noise, kurtosis in (("normal", 3.0), ("uniform", 1.8)):
        trick = make(sigma=0.05, noise=noise)
        t = targets(trick, "real", 0.5)
        error = 4 * 0.05 * math.sqrt((kurtosis - 1) / (4 * MANY))
        yield Claim(f"{noise}: its deviation, far from the ends", t.std().item(), 0.05, error)
        yield Claim(f"{noise}: its mean", t.mean().item(), 0.5, within_noise(0.05, MANY))
        z = (t - 0.5) / 0.05
        measured = float(z.pow(4).mean())
        yield Claim(f"{noise}: its kurtosis", measured, kurtosis, within_noise(10, MANY))
        real, fake = targets(trick, "real", 1.0), targets(trick, "fake", 0.0)
        yield Claim(f"{noise}: no target above", real.max().item(), 1, 0)
        yield Claim(f"{noise}: no target below", fake.min().item(), 0, 0)
        cut = 0.05 / math.sqrt(2 * math.pi) if noise == "normal" else 0.05 * 3**0.5 / 4
        error = within_noise(0.05, MANY)
        yield Claim(f"{noise}: clamping lifts 0 to", fake.mean().item(), cut, error)
    for decay, half in (("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)):
        t = targets(make(sigma=0.1, decay=decay), "real", 0.5, images=500)
        yield Claim(f"{decay}: deviation at T/2", t.std().item(), 0.1 * half, 2e-3)
        t = targets(make(sigma=0.1, decay=decay), "real", 0.5, images=1000)
        end = 0.1 if decay == "constant" else 0.0
        yield Claim(f"{decay}: deviation at T", t.std().item(), end, 2e-3)
    both = composed(
        trial({"one_sided_label_smoothing": {"alpha": 0.95, "spread": 0.25}, "label_noise": {}})
    )
    t = targets(both, "real", 1.0)
    yield Claim("after U(0.7, 1.2), which it clamps to", t.max().item(), 1, 0)
    yield Claim("G pays as without it, off by", told_apart(make(sigma=0.2)), 0)


def trial(chosen: dict[str, Any]) -> Trial:
    side = {"normalization": "none", "optimizer": "sgd"}
    plain = {
        "data": "ring",
        "architecture": "mlp_gan",
        "prior": "gaussian_latent",
        "generator": side,
        "discriminator": side,
        "loss": "non_saturating",
        "schedule": "alternating_update",
        "horizon_kimg": 1,
    }
    return Trial.read({**plain, "tricks": chosen})


def told_apart(trick: Trick) -> float:
    """How far what G pays depends on a trick, in a round in which nobody moves."""
    paid = []
    for chosen in ({}, {"trick": trick}):
        gan = game(Linear([0.5]), Point([1.0]), lr=0.0, loss="non_saturating", tricks=chosen)
        paid.append(play_round(gan, origin, at(), {})["generator.adversarial"].item())
    return abs(paid[0] - paid[1])


@check("label_flipping")
def flips() -> Iterator[Claim]:
    make = tricks["label_flipping"].make
    real, fake = Batch(torch.ones(MANY, 1)), Batch(torch.zeros(MANY, 1))
    for p, decay, images, rate in (
        (0.05, "constant", 1000, 0.05),
        (0.2, "linear", 500, 0.1),
        (0.2, "cosine", 250, 0.1 * (1 + math.cos(math.pi / 4))),
        (0.2, "linear", 1000, 0.0),
    ):
        shown, others = make(p=p, decay=decay).pair(real, fake, at(images))
        flipped = 1 - shown.image.mean().item()
        error = 3 * math.sqrt(rate * (1 - rate) / MANY)
        yield Claim(f"p {p}, {decay}: share flipped at {images / 1000}T", flipped, rate, error)
        off = gap(shown.image + others.image, torch.ones(MANY, 1))
        yield Claim("the two of a pair change places, off by", off, 0)
    progress, trick = at(), make(p=0.2, per="batch")
    means = [trick.pair(real, fake, progress)[0].image.mean().item() for _ in range(1000)]
    yield Claim("per batch: batches that are neither one", sum(0 < m < 1 for m in means), 0)
    share, error = 1 - sum(means) / 1000, 3 * math.sqrt(0.2 * 0.8 / 1000)
    yield Claim("per batch: share flipped", share, 0.2, error)
    even = slope_of_flipped(make(p=0.5), "non_saturating")
    yield Claim("p = ½ leaves D nothing to learn: its slope", even, 0, within_noise(1, MANY))
    for loss in ("hinge", "wasserstein", "least_squares"):
        straight, turned = slope_of_flipped(None, loss), slope_of_flipped(make(p=1.0), loss)
        yield Claim(f"{loss}: all flipped turns D's slope, sum", straight + turned, 0)
    for decay in ("linear", "constant"):
        yield Claim("G pays as without it, off by", told_apart(make(p=1.0, decay=decay)), 0)
    gan = game(Linear([1.0]), Point([1.0]), lr=0.0, tricks={"trick": make(p=1.0)})
    turn = Round(gan, origin, at(), gan.moves(at(), {})).turn(Player.D, "main")
    yield Claim("a turn still calls fakes what they are", turn.fake.image.min().item(), 1)
    yield Claim("while its scores are of the swapped", turn.scores.fake.max().item(), 0)


def slope_of_flipped(trick: Trick | None, loss: str) -> float:
    """The slope of D's loss in the weight of a linear D at 0, with real examples at 1 and fakes at
    -1."""
    weight = exact(0).requires_grad_()
    both = Batch(torch.ones(MANY).double()), Batch(-torch.ones(MANY).double())
    real, fake = both if trick is None else trick.pair(*both, at())
    scores = Scores(lambda batch: Output(weight * batch.image), real, fake)
    paid = losses[loss].make().discriminator(scores)
    return float(torch.autograd.grad(paid, weight)[0])


@check("instance_noise")
def noise_on_images() -> Iterator[Claim]:
    make, x = InstanceNoise, torch.zeros(400, 100)
    trick = make(sigma=0.2, until=0.5)
    for images, deviation in ((0, 0.2), (250, 0.1), (500, 0.0), (750, 0.0)):
        when = f"at {images / 500:g}T"
        yield Claim(f"σ {when}", trick.deviation(at(images)), deviation)
        seen = trick.images(Batch(x), at(images)).image
        error = 4 * deviation / math.sqrt(2 * x.numel())
        yield Claim(f"deviation of what D sees {when}", seen.std().item(), deviation, error)
    cosine, constant = make(sigma=0.2, decay="cosine"), make(sigma=0.2, decay="constant")
    quarter = 0.1 * (1 + math.cos(math.pi / 4))
    for images, deviation in ((0, 0.2), (125, quarter), (250, 0.1), (500, 0.0), (750, 0.0)):
        yield Claim(f"cosine: σ at {images / 500:g}T", cosine.deviation(at(images)), deviation)
    yield Claim("constant: σ at 2T", constant.deviation(at(1000)), 0.2)
    y = examples(4, 3).requires_grad_()
    seen = trick.images(Batch(y), at()).image
    (slope,) = torch.autograd.grad(seen.sum(), y)
    yield Claim("the slope through it is 1, off by", gap(slope, torch.ones_like(slope)), 0)
    views = seen_by_d(trick)
    yield Claim("views of D in a round of both players", len(views), 3)
    noisy = sum(numbers(view) == len(view) for view in views)
    yield Claim("of them with noise for each example", noisy, 3)
    different = numbers(torch.stack(views[1:]))
    yield Claim("numbers drawn for two views of the fakes", different, views[1].numel() * 2)
    gan = game(Linear([1.0]), Point([1.0]), lr=0.0, tricks={"trick": trick})
    measured = gan.eval_generator()(torch.zeros(4, 1), Context())
    yield Claim("what is measured is what G makes, off by", gap(measured, torch.ones(4, 1)), 0)


def numbers(x: Tensor) -> int:
    """How many different numbers there are."""
    return len(set(x.flatten().tolist()))


def seen_by_d(trick: Trick) -> list[Tensor]:
    """What D is shown in one round."""
    seen = list[Tensor]()

    class Watched(Linear):
        def forward(self, batch: Batch) -> Output:
            seen.append(batch.image.detach())
            return super().forward(batch)

    gan = game(Watched([1.0]), Point([1.0]), lr=0.0, tricks={"trick": trick})
    play_round(gan, origin, at(), {})
    return seen


def augmented(name: str, x: Tensor, **knobs: Any) -> Tensor:
    return tricks[name].make(**knobs).images(Batch(x), at()).image


@check("diff_augment")
def differentiable_augmentation() -> Iterator[Claim]:
    n = 4000
    gray = augmented("diff_augment", torch.zeros(n, 3, 4, 4), policy="color")
    first = gray[:, :1, :1, :1]
    yield Claim("color: a gray image stays gray, off by", gap(gray, first.expand_as(gray)), 0)
    yield Claim("color: mean brightness", first.mean().item(), 0, within_noise(12**-0.5, n))
    yield Claim("color: darkest", first.min().item(), -0.5, 2e-3)
    yield Claim("color: brightest", first.max().item(), 0.5, 2e-3)
    red = torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1).expand(n, 3, 4, 4)
    seen = augmented("diff_augment", red, policy="color")
    scale = seen[:, 0, 0, 0] - seen[:, 1, 0, 0]
    yield Claim("color: mean of saturation times contrast", scale.mean().item(), 1, 0.05)
    yield Claim("color: the most of it", scale.max().item(), 3, 0.05)
    steps = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4).expand(n, 1, 4, 4)
    seen = augmented("diff_augment", steps, policy="color")
    contrast = (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))) / 2
    yield Claim("color: mean contrast of one channel", contrast.mean().item(), 1, 0.02)
    yield Claim("color: least contrast", contrast.min().item(), 0.5, 2e-3)
    dot = torch.zeros(n, 1, 16, 16)
    dot[:, :, 8, 8] = 1
    moved = augmented("diff_augment", dot, policy="translation").mean((0, 1))
    yield Claim("translation: places of a pixel at 16 px", (moved > 0).sum().item(), 25)
    yield Claim("translation: within 2 px of it", moved[6:11, 6:11].sum().item(), 1)
    yield Claim("translation: the likeliest place", moved.max().item(), 1 / 25, 0.02)
    edge = augmented("diff_augment", torch.ones(n, 1, 16, 16), policy="translation")
    yield Claim("translation: zeros come in, on average", 1 - edge.mean().item(), 0.14, 0.01)
    holes = 1 - augmented("diff_augment", torch.ones(n, 1, 16, 16), policy="cutout")
    area = holes.sum((1, 2, 3))
    yield Claim("cutout: the largest hole at 16 px", area.max().item(), 64)
    yield Claim("cutout: the smallest, in a corner", area.min().item(), 16)
    error = within_noise(area.std().item(), n) / (116 / 17) ** 2
    yield Claim("cutout: the mean hole", area.mean().item(), (116 / 17) ** 2, error)
    fakes = examples(6, 3, 8, 8).requires_grad_()
    seen = augmented("diff_augment", fakes)
    (slope,) = torch.autograd.grad(seen.square().sum(), fakes)
    yield Claim("fakes whose slope reaches G", slope.flatten(1).any(1).sum().item(), 6)
    twice, none = (augmented("diff_augment", scale * fakes) for scale in (2, 0))
    yield Claim("equal draws are one affine map, off by", gap(twice - seen, seen - none), 0)
    trick, progress = tricks["diff_augment"].make(), at()
    looks = [trick.images(Batch(fakes), progress).image for _ in range(2)]
    different = (looks[0] != looks[1]).flatten(1).any(1).sum()
    yield Claim("of 6 images, those that look different at a second look", different.item(), 6)


@check("classic_augmentation")
def classic_augmentation() -> Iterator[Claim]:
    n, name = 4000, "classic_augmentation"
    some = examples(6, 3, 8, 8)
    plain = augmented(name, some, strength=0.0, mirror=False)
    yield Claim("strength 0, unmirrored: changed by", gap(plain, some), 0, 1e-5)
    either = augmented(name, some, strength=0.0)
    mirrored = [gap(a, b.flip(2)) < 1e-4 for a, b in zip(either, some, strict=True)]
    straight = [gap(a, b) < 1e-4 for a, b in zip(either, some, strict=True)]
    kept = sum(a != b for a, b in zip(mirrored, straight, strict=True))
    yield Claim("strength 0: of 6 images, those mirrored or as they were", kept, 6)
    left = torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2).expand(n, 1, 2, 2)
    share = (augmented(name, left, strength=0.0)[:, 0, 0, 0] > 0).float().mean().item()
    yield Claim("share of images that are mirrored", share, 0.5, within_noise(0.5, n))
    gray = augmented(name, torch.zeros(n, 3, 4, 4), strength=1.0)
    yield Claim("gray stays gray, off by", gap(gray, gray[:, :1, :1, :1].expand_as(gray)), 0, 1e-5)
    yield Claim("darkest at strength 1", gray.min().item(), -0.2, 2e-3)
    yield Claim("brightest at strength ½", augmented(name, 0 * gray).max().item(), 0.1, 2e-3)
    slope = torch.linspace(-1, 1, 33).reshape(1, 1, 1, 33).expand(n, 1, 33, 33)
    turned = augmented(name, slope, strength=1.0, mirror=False)[:, 0, 14:19, 14:19]
    down = (turned[:, 4, 2] - turned[:, 0, 2]) / (turned[:, 2, 4] - turned[:, 2, 0])
    angle = down.abs().atan().max().rad2deg().item()
    yield Claim("the most that is turned at strength 1, in degrees", angle, 15, 0.01)
    fakes = examples(6, 3, 8, 8).requires_grad_()
    (first,) = torch.autograd.grad(augmented(name, fakes).square().sum(), fakes, create_graph=True)
    yield Claim("fakes whose slope reaches G", first.flatten(1).any(1).sum().item(), 6)
    (second,) = torch.autograd.grad(first.square().sum(), fakes)
    yield Claim("fakes through which a penalty reaches D", second.flatten(1).any(1).sum().item(), 6)
    real = tricks[name].make(where="real")
    shown = real.pair(Batch(some), Batch(some), at())
    yield Claim("where real: fakes changed by", gap(shown[1].image, some), 0)
    different = (shown[0].image != some).flatten(1).any(1).sum().item()
    yield Claim("where real: real images that are changed, of 6", different, 6)


@check("ada")
def adaptive_augmentation() -> Iterator[Claim]:
    x = examples(5, 3, 8, 8)
    yield Claim("p = 0 leaves images as they are, off by", gap(augmented("ada", x), x), 0, 0)
    for quarters in range(4):
        cos, sin = exact((1.0, 0.0, -1.0, 0.0)[quarters]), exact((0.0, 1.0, 0.0, -1.0)[quarters])
        turned = warped(x, [each(x, turning, cos, sin)])
        expected = x.rot90(-quarters, (2, 3))
        yield Claim(f"turned by {quarters} quarters, off by", gap(turned, expected), 0, 0)
    mirrored = warped(x, [each(x, scaling, exact(-1), exact(1))])
    yield Claim("mirrored, off by", gap(mirrored, x.flip(3)), 0, 0)
    shifted = warped(x, [each(x, shifting, exact(2), exact(1))])
    yield Claim("shifted by 2 and 1, off by", gap(shifted[..., 1:, 2:], x[..., :-1, :-2]), 0, 0)
    yield Claim("the edge mirrors what it cuts off", gap(shifted[..., 1:, 1], x[..., :-1, 1]), 0, 0)
    chain = [
        each(x, scaling, exact(2), exact(0.5)),
        each(x, turning, exact(0), exact(1)),
        each(x, turning, exact(0), exact(-1)),
        each(x, scaling, exact(0.5), exact(2)),
    ]
    yield Claim("changes and their inverses, off by", gap(warped(x, chain), x), 0)
    plane = torch.linspace(-1, 1, 8, dtype=torch.float64).expand(1, 1, 8, 8)
    angle = exact(0.3)
    tilted = warped(plane, [each(plane, turning, angle.cos(), angle.sin())])[..., 3:5, 3:5]
    expected = plane * angle.cos() + plane.mT * angle.sin()
    yield Claim("a ramp turned by 0.3, off by", gap(tilted, expected[..., 3:5, 3:5]), 0)
    third = torch.full((5, 1, 1, 1), 2 * math.pi / 3, dtype=torch.float64)
    yield Claim("a third of a turn in hue moves red to green", gap(hued(x, third), x.roll(1, 1)), 0)
    many = examples(1, 1, 16, 16).expand(10_000, 1, 16, 16).float()
    same = (augmented("ada", many, start=0.5, pipeline="blit") == many).flatten(1).all(1)
    share = (1 - 0.5 / 2) * (1 - 0.5 * 3 / 4) * (1 - 0.5 * 15 / 16)
    measured = same.float().mean().item()
    yield Claim("p = ½: images left as they are", measured, share, within_noise(0.5, 10_000))
    fakes = examples(6, 3, 8, 8).requires_grad_()
    (slope,) = torch.autograd.grad(augmented("ada", fakes, start=1.0).square().sum(), fakes)
    yield Claim("fakes whose slope reaches G", slope.flatten(1).any(1).sum().item(), 6)
    yield from controller()


def each(x: Tensor, change: Callable[[Tensor, Tensor], Affine], a: Tensor, b: Tensor) -> Affine:
    """The same change of every image."""
    a, b = (value.expand(len(x)).reshape(-1, 1, 1, 1) for value in (a, b))
    return change(a, b)


def controller() -> Iterator[Claim]:
    """How p moves when D's real scores have known signs; ten examples a move."""
    for what, scores, start, moves, p in (
        ("sure of all", [1.0] * 10, 0.0, 4, 0.5),
        ("sure of all", [1.0] * 10, 0.0, 3, 0.0),
        ("sure of all", [1.0] * 10, 0.0, 8, 1.0),
        ("sure of all", [1.0] * 10, 0.0, 12, 1.0),
        ("right of 8 in 10, which is the target", [1.0] * 8 + [-1.0] * 2, 0.5, 8, 0.5),
        ("right of 7 in 10", [1.0] * 7 + [-1.0] * 3, 1.0, 4, 0.5),
        ("right of none", [-1.0] * 10, 0.5, 12, 0.0),
    ):
        trick = tricks["ada"].make(target=0.6, speed_kimg=0.08, interval=4, start=start)
        yield Claim(f"{what}: p after {moves} moves", moved(trick, scores, moves).p.item(), p)
    mild, bold = (
        moved(tricks["ada"].make(speed_kimg=speed), [1.0] * 10, 40).p.item() for speed in (4, 2)
    )
    yield Claim("at half the speed_kimg, p rises by", bold / mild, 2)


def moved(trick: Trick, real: list[float], moves: int) -> Any:
    """A trick after some moves of D that gave real examples these scores."""
    progress, d, shown = at(), Linear([1.0]), exact(*real)[:, None]
    for _ in range(moves):
        trick.observe(turn_of(d, shown, torch.zeros(10, 1).double()))
        # What G is shown as real has no part in it.
        trick.observe(turn_of(d, -shown, torch.zeros(10, 1).double(), player=Player.G))
        progress.images += 10
        progress.moves[Player.D] += 1
        trick.weights(Player.D, {}, progress)
        trick.weights(Player.G, {}, progress)
    return trick


@check("gaussian_latent")
def normal_latents() -> Iterator[Claim]:
    for size in (32, 256):
        z = priors["gaussian_latent"].make(size=size)(4000, seeded())
        length = z.norm(dim=1).mean().item() / math.sqrt(size)
        yield Claim(f"mean ‖z‖ / √d at d = {size}", length, 1, 0.01)
    for tau in (0.5, 2.0):
        prior = priors["gaussian_latent"].make(size=32, truncation=tau)
        z, inside = prior.shown(4000, seeded()), math.erf(tau / 2**0.5)
        density = math.exp(-(tau**2) / 2) / math.sqrt(2 * math.pi)
        variance = 1 - 2 * tau * density / inside
        yield Claim(f"truncated at {tau}: the largest number", z.abs().max().item(), tau, 1e-3)
        yield Claim(f"truncated at {tau}: its variance", z.var().item(), variance, 0.01)
        plain = priors["gaussian_latent"].make(size=32)
        trained = gap(prior(10, seeded()), plain(10, seeded()))
        yield Claim(f"truncated at {tau}: training sees none of it, off by", trained, 0, 0)


@check("spherical_latent")
def on_a_sphere() -> Iterator[Claim]:
    for name, radius, size in (("sqrt_d", 100**0.5, 100), (1, 1.0, 100), ("sqrt_d", 3**0.5, 3)):
        z = priors["spherical_latent"].make(size=size, radius=name)(4000, seeded())
        what = f"radius {name}, d = {size}"
        for kind, norm in (("least", z.norm(dim=1).min()), ("most", z.norm(dim=1).max())):
            yield Claim(f"{what}: the {kind} ‖z‖", norm.item(), radius, 1e-6)
        pull, error = z.mean(0).abs().max().item(), within_noise(radius / size**0.5, 4000)
        yield Claim(f"{what}: no direction is preferred", pull, 0, 1.3 * error)
    # By Archimedes, each coordinate of a point on the sphere in space is uniform.
    heights = z[:, 0] / 3**0.5
    yield Claim("d = 3: variance of a coordinate at radius 1", heights.var().item(), 1 / 3, 0.02)
    flat = float(heights.pow(4).mean())
    yield Claim("d = 3: its fourth moment, being uniform", flat, 1 / 5, 0.02)


@check("uniform_latent")
def in_a_cube() -> Iterator[Claim]:
    for low, variance in ((-1, 1 / 3), (0, 1 / 12)):
        z = priors["uniform_latent"].make(size=32, low=low)(4000, seeded())
        yield Claim(f"from {low}: the least number", z.min().item(), low, 1e-3)
        yield Claim(f"from {low}: the largest", z.max().item(), 1, 1e-3)
        yield Claim(f"from {low}: its variance", z.var().item(), variance, 0.005)


@check("slerp_interpolation", "lerp_interpolation")
def ends_of_walks() -> Iterator[Claim]:
    a, b = examples(5, 16), examples(5, 16, seed=1)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None, None]
    for name in ("slerp_interpolation", "lerp_interpolation"):
        way = walks[name].make()(a, b, t)
        yield Claim(f"{name}: where it begins, off by", gap(way[0], a), 0, 0)
        yield Claim(f"{name}: where it ends, off by", gap(way[-1], b), 0, 0)
        still = walks[name].make()(a, a, t)
        yield Claim(f"{name}: from a to a, off by", gap(still, a.expand_as(still)), 0, 0)
        back = walks[name].make()(b, a, 1 - t)
        yield Claim(f"{name}: the way back, off by", gap(way, back), 0)


@check("slerp_interpolation")
def along_the_great_circle() -> Iterator[Claim]:
    slerp = walks["slerp_interpolation"].make()
    t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None, None]
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (examples(5, 16), examples(5, 16, seed=1)))
    way = slerp(a, b, t)
    yield Claim("on the unit sphere: ‖z‖ is 1, off by", gap(way.norm(dim=-1), exact(1)), 0)
    steps = way.diff(dim=0).norm(dim=-1)
    yield Claim("its steps are equally long, off by", gap(steps, steps[:1]), 0)
    x, y = exact(1, 0)[None], exact(0, 1)[None]
    half = gap(slerp(x, y, exact(0.5)[:, None]), (x + y) / math.sqrt(2))
    yield Claim("at right angles, halfway is √½ (a + b), off by", half, 0)
    across = slerp(x, -x, exact(0.25)[:, None])
    yield Claim("to the opposite point it is straight, off by", gap(across, x / 2), 0)
    near = slerp(a.float(), a.float() * (1 + 1e-7), t.float())
    yield Claim("to a neighbour, in single precision: ‖z‖", near.norm(dim=-1).max().item(), 1)


@check("lerp_interpolation")
def on_the_line() -> Iterator[Claim]:
    a, b, t = examples(5, 16), examples(5, 16, seed=1), exact(0.25)[:, None]
    way = walks["lerp_interpolation"].make()(a, b, t)
    yield Claim("at ¼: ¾a + ¼b, off by", gap(way, 0.75 * a + 0.25 * b), 0)
    x, y = exact(1, 0)[None], exact(0, 1)[None]
    middle = walks["lerp_interpolation"].make()(x, y, exact(0.5)[:, None])
    yield Claim("at right angles, halfway is nearer to the origin", middle.norm().item(), 0.5**0.5)
