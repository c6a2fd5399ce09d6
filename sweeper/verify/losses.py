"""Losses, and what is added to G's, at scores and activations that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sweeper.catalog.families import losses, regularizers
from sweeper.game import (
    Batch,
    Loss,
    Output,
    Pair,
    Player,
    Progress,
    Regularizer,
    Scores,
    Streams,
    Turn,
)
from sweeper.verify.claims import Claim, check

REAL, FAKE = (2.0, 0.5), (-3.0, 0.25)
BASES = ("standard", "least_squares", "hinge")


def exact(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def said(real: Tensor, fake: Tensor) -> Scores:
    """Scores that D gave: an example that is its own score."""
    return Scores(lambda batch: Output(batch.image), Batch(real), Batch(fake))


def paid(loss: Loss, real: Tensor, fake: Tensor) -> tuple[float, float]:
    scores = said(real, fake)
    return loss.discriminator(scores).item(), loss.generator(scores).item()


def slope_for_g(loss: Loss, fake: Tensor) -> Tensor:
    """The slope of G's loss along each fake's score, times how many there are."""
    value = loss.generator(said(torch.zeros_like(fake), fake))
    return len(fake) * torch.autograd.grad(value, fake)[0]


def gap(measured: Tensor, expected: Tensor) -> float:
    return float((measured - expected).detach().abs().max())


def undecided(loss: Loss) -> float:
    """The least that D pays while it scores everything the same."""
    same = torch.linspace(-3, 3, 121, dtype=torch.float64)
    return min(loss.discriminator(said(s[None], s[None])).item() for s in same)


def balanced(what: str, loss: Loss) -> Claim:
    expected = math.nan if loss.equilibrium is None else loss.equilibrium
    return Claim(f"D's loss when it cannot tell{what}", undecided(loss), expected)


@check("minimax", "non_saturating")
def of_probabilities() -> Iterator[Claim]:
    minimax, saturating_not = losses["minimax"].make(), losses["non_saturating"].make()
    zero, real, fake = exact(0.0), exact(*REAL), exact(-30.0, -3.0, 0.25, 8.0)
    d, g = paid(minimax, zero, zero)
    yield Claim("D's minimax loss at scores 0 is 2 ln 2", d, 2 * math.log(2))
    yield Claim("G's minimax loss at scores 0 is -ln 2", g, -math.log(2))
    d, g = paid(saturating_not, zero, zero)
    yield Claim("D's non-saturating loss at scores 0 is 2 ln 2", d, 2 * math.log(2))
    yield Claim("G's non-saturating loss at scores 0 is ln 2", g, math.log(2))
    believed = fake.sigmoid()
    yield Claim("minimax: dL_G/df is -σ(f), off by", gap(slope_for_g(minimax, fake), -believed), 0)
    slope = slope_for_g(saturating_not, fake)
    yield Claim("non-saturating: dL_G/df is σ(f) - 1, off by", gap(slope, believed - 1), 0)
    entropy = (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))).item()
    for loss, name in ((minimax, "minimax"), (saturating_not, "non-saturating")):
        yield Claim(f"{name}: L_D is the cross entropy", paid(loss, real, fake)[0], entropy)
        yield balanced(f" ({name})", loss)
        beliefs = loss.beliefs(zero, zero)
        assert beliefs is not None
        yield Claim(f"{name}: a score of 0 is a belief of ½", beliefs[0].item(), 0.5)


@check("least_squares")
def of_codes() -> Iterator[Claim]:
    plain, pearson = (losses["least_squares"].make(coding=c) for c in ("zero_one", "pearson"))
    real, fake = exact(*REAL), exact(*FAKE)
    d, g = paid(plain, real, fake)
    yield Claim("L_D is ½ E(r - 1)² + ½ E f²", d, 0.5 * 0.625 + 0.5 * 4.53125)
    yield Claim("L_G is ½ E(f - 1)²", g, (16 + 0.75**2) / 4)
    d, g = paid(pearson, real, fake)
    yield Claim("Pearson: L_D is ½ E(r - 1)² + ½ E(f + 1)²", d, (1 + 0.25) / 4 + (4 + 1.5625) / 4)
    yield Claim("Pearson: L_G is ½ E f²", g, (9 + 0.0625) / 4)
    yield balanced("", plain)
    yield balanced(" (Pearson)", pearson)


@check("wasserstein")
def of_a_linear_critic() -> Iterator[Claim]:
    random = torch.Generator().manual_seed(0)
    w, x, y = (torch.randn(n, 5, generator=random, dtype=torch.float64) for n in (1, 64, 64))
    real, fake, loss = (
        (x @ w.T).squeeze(1),
        ((y + 2) @ w.T).squeeze(1),
        losses["wasserstein"].make(),
    )
    d, g = paid(loss, real, fake)
    yield Claim("L_D is w·(E y - E x)", d, float(w[0] @ ((y + 2).mean(0) - x.mean(0))))
    moved_d, moved_g = paid(loss, real + 0.5, fake + 0.5)
    yield Claim("a shift of all scores changes L_D by", moved_d - d, 0)
    yield Claim("a shift of all scores by ½ changes L_G by", moved_g - g, -0.5)
    drifting, _ = paid(losses["wasserstein"].make(drift=0.01), real, fake)
    yield Claim("a drift of 0.01 adds 0.01 E r²", drifting - d, 0.01 * real.square().mean().item())


@check("hinge")
def of_a_margin() -> Iterator[Claim]:
    loss, wide = losses["hinge"].make(), losses["hinge"].make(margin=1.5)
    real, fake = exact(*REAL), exact(*FAKE)
    d, g = paid(loss, real, fake)
    yield Claim("L_D is E max(0, 1 - r) + E max(0, 1 + f)", d, 0.25 + 0.625)
    yield Claim("L_G is -E f", g, 1.375)
    mirrored = (1 + -real).relu().mean() + (1 - -fake).relu().mean()
    yield Claim("L_D is the mirrored form at -D", d, mirrored.item())
    scaled = paid(wide, 1.5 * real, 1.5 * fake)[0]
    yield Claim("a margin of 1.5 is the hinge at another scale", scaled, 1.5 * d)
    yield balanced("", loss)
    yield balanced(" (margin 1.5)", wide)


@check("relativistic")
def of_pairs() -> Iterator[Claim]:
    expected = {
        "standard": math.log1p(math.exp(-5.0)) + math.log1p(math.exp(-0.25)),
        "least_squares": 4.0**2 + 0.75**2,
        "hinge": 0.75,
    }
    real, fake = exact(*REAL), exact(*FAKE)
    for base in BASES:
        loss = losses["relativistic"].make(base=base)
        d, g = paid(loss, real, fake)
        yield Claim(f"{base}: L_D at leads 5 and ¼", d, expected[base] / 2)
        yield Claim(f"{base}: L_G(r, f) is L_D(f, r)", g, paid(loss, fake, real)[0])
        moved = paid(loss, real + 7, fake + 7)
        yield Claim(f"{base}: a shift of all scores changes L_D by", moved[0] - d, 0)
        yield Claim(f"{base}: a shift of all scores changes L_G by", moved[1] - g, 0)
        yield balanced(f" ({base})", loss)
    fakes = exact(-3.0, 0.25, 8.0)
    slope = slope_for_g(losses["relativistic"].make(), fakes)
    yield Claim("dL_G/df is σ(f - r) - 1, off by", gap(slope, fakes.sigmoid() - 1), 0)


@check("relativistic_average")
def of_means() -> Iterator[Claim]:
    # With E r = 1.25 and E f = -1.375, reals lead by 3.375 and 1.875, and fakes by -4.25 and -1.
    leads, lags = (3.375, 1.875), (4.25, 1.0)
    expected = {
        "standard": sum(math.log1p(math.exp(-t)) for t in (*leads, *lags)) / 2,
        "least_squares": sum((t - 1) ** 2 for t in (*leads, *lags)) / 2,
        "hinge": 0.0,
    }
    nothing = {"standard": 2 * math.log(2), "least_squares": 2.0, "hinge": 2.0}
    real, fake, same = exact(*REAL), exact(*FAKE), exact(0.75, 0.75)
    for base in BASES:
        loss = losses["relativistic_average"].make(base=base)
        d, g = paid(loss, real, fake)
        yield Claim(f"{base}: L_D at known leads over the mean", d, expected[base])
        yield Claim(f"{base}: L_G(r, f) is L_D(f, r)", g, paid(loss, fake, real)[0])
        moved = paid(loss, real + 7, fake + 7)
        yield Claim(f"{base}: a shift of all scores changes L_D by", moved[0] - d, 0)
        yield Claim(f"{base}: a shift of all scores changes L_G by", moved[1] - g, 0)
        yield Claim(f"{base}: L_D at equal scores", paid(loss, same, same)[0], nothing[base])
        yield balanced(f" ({base})", loss)
        half = losses["relativistic_average"].make(base=base, half=True)
        yield Claim(f"{base}: half is half of L_G", paid(half, real, fake)[1], g / 2)
        yield balanced(f" ({base}, half)", half)


def turn(
    player: Player, discriminator: Callable[[Batch], Output], real: Batch, fake: Batch
) -> Turn:
    return Turn(
        player,
        real,
        fake,
        torch.zeros(len(fake), 1),
        Scores(discriminator, real, fake),
        discriminator,
        Pair(nn.Identity(), nn.Identity()),
        Progress(Streams(0), horizon=1),
    )


def pay(name: str, turn: Turn, **knobs: Any) -> Tensor:
    """A regularizer's number."""
    formula = regularizers[name].make(**knobs)
    return formula(turn)


@check("total_variation_loss")
def of_neighbours() -> Iterator[Claim]:
    def of(fake: Tensor, **knobs: Any) -> float:
        batch = Batch(fake)
        seen = turn(Player.G, lambda b: Output(b.image.flatten(1).sum(1)), batch, batch)
        return float(pay("total_variation_loss", seen, weight=1.0, **knobs))

    ramp = torch.arange(5.0).expand(2, 1, 4, 5)
    yield Claim("a constant image pays", of(torch.full((2, 3, 4, 5), 0.7)), 0)
    yield Claim("a ramp 0 … 4 of 4x5 px pays a step for each of 4·4 neighbours", of(ramp), 16)
    yield Claim("its transpose pays the same", of(ramp.mT), 16)
    yield Claim("a constant added to it changes that by", of(ramp + 3) - of(ramp), 0)
    yield Claim("a ramp of steps of 3 pays 9 for each, if squared", of(3 * ramp, p=2), 144)


@check("feature_matching")
def of_activations() -> Iterator[Claim]:
    random = torch.Generator().manual_seed(0)
    first, last = (torch.randn(n, m, generator=random) for n, m in ((5, 4), (4, 3)))

    def discriminator(batch: Batch) -> Output:
        h = batch.image @ first
        return Output((h @ last).sum(1), (h, h @ last))

    def of(real: Tensor, fake: Tensor, **knobs: Any) -> Tensor:
        knobs = {"weight": 1.0} | knobs
        seen = turn(Player.G, discriminator, Batch(real), Batch(fake))
        return pay("feature_matching", seen, **knobs)

    x, y = (torch.randn(8, 5, generator=random).requires_grad_() for _ in range(2))
    apart = (x - y).mean(0) @ first
    last_layer, first_layer = (v.square().sum().item() for v in (apart @ last, apart))
    yield Claim("mean_l2 of a linear D: ‖W(E x - E x̂)‖²", of(x, y).item(), last_layer, 1e-5)
    yield Claim("one layer further back", of(x, y, layer=1).item(), first_layer, 1e-5)
    mixed = of(x, y[torch.randperm(8, generator=random)])
    yield Claim("the order of the fakes changes mean_l2 by", (mixed - of(x, y)).item(), 0, 1e-5)
    yield Claim("the same examples on both sides pay", of(x, x).item(), 0)
    paired = ((x - y) @ first).abs().mean() + ((x - y) @ first @ last).abs().mean()
    layered = of(x, y, form="layer_l1", weight=10.0).item()
    yield Claim("layer_l1 sums all layers' mean gaps", layered, 10 * paired.item(), 1e-5)
    for form in ("mean_l2", "layer_l1"):
        (toward,) = torch.autograd.grad(of(x, y, form=form), x, allow_unused=True)
        drawn = 0.0 if toward is None else float(toward.abs().max())
        yield Claim(f"{form} draws the real side by", drawn, 0)
    terms = {name: torch.ones(()) for name in ("adversarial", "feature_matching")}
    formula = regularizers["feature_matching"].make(mode="replace")
    assert isinstance(formula, Regularizer)
    left = sum(v.item() for v in formula.total(Player.G, terms).values())
    yield Claim("replace leaves of two terms of 1", left, 1)


@check("auxiliary_classifier")
def of_classes() -> Iterator[Claim]:
    label = torch.arange(4)

    def of(player: Player, real: Tensor, fake: Tensor, **knobs: Any) -> float:
        def discriminator(batch: Batch) -> Output:
            return Output(batch.image.sum(1), (), batch.image)

        knobs = {"d_weight": 1.0, "g_weight": 1.0} | knobs
        seen = turn(player, discriminator, Batch(real, label), Batch(fake, label))
        return float(pay("auxiliary_classifier", seen, **knobs))

    unsure, sure = torch.zeros(4, 4), 50 * torch.eye(4)
    yield Claim("G pays ln K at equal logits of K classes", of(Player.G, sure, unsure), math.log(4))
    yield Claim("G pays nothing for classes that D is sure of", of(Player.G, unsure, sure), 0)
    yield Claim("D pays it for both sides", of(Player.D, unsure, unsure), 2 * math.log(4))
    alone = of(Player.D, unsure, unsure, on_fakes=False)
    yield Claim("D pays it for the real side alone", alone, math.log(4))
    weighed = of(Player.D, unsure, sure, d_weight=0.5), of(Player.G, sure, unsure, g_weight=0.5)
    yield Claim("half a weight halves D's", weighed[0], math.log(4) / 2)
    yield Claim("half a weight halves G's", weighed[1], math.log(4) / 2)
    # Of a label smoothed by s, s (K - 1) / K lies on classes that fall short by 50.
    smoothed = of(Player.G, unsure, sure, smoothing=0.1)
    yield Claim("smoothing by 0.1 costs 50 · 0.1 · ¾ there", smoothed, 50 * 0.1 * 3 / 4)

    random = torch.Generator().manual_seed(0)
    trunk = torch.randn(5, 4, generator=random, requires_grad=True)
    x, y = (torch.randn(4, 5, generator=random) for _ in range(2))

    def two_heads(batch: Batch) -> Output:
        h = batch.image @ trunk
        return Output(h.sum(1), (), h)

    seen = turn(Player.D, two_heads, Batch(x, label), Batch(y, label))
    adversarial = losses["non_saturating"].make().discriminator(seen.scores)
    both = adversarial + pay("auxiliary_classifier", seen, d_weight=0.0)
    slopes = [torch.autograd.grad(v, trunk, retain_graph=True)[0] for v in (adversarial, both)]
    yield Claim("a weight of 0 changes the gradient of D by", gap(*slopes), 0)
