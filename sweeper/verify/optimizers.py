"""Optimizers and what becomes of gradients before them: steps that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.catalog.families import optimizers
from sweeper.config import Trial
from sweeper.game import Batch, Player, Progress, Streams
from sweeper.trial.assemble import assemble
from sweeper.trial.gan import Gan
from sweeper.trial.step import play_round
from sweeper.verify.bilinear import Bilinear
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import gap

SLOPES = torch.tensor([0.3, -5.0, 1e-3, 2.0], dtype=torch.float64)
OTHERS = torch.tensor([-1.0, 4.0, 2e-3, 2.0], dtype=torch.float64)


def moved(name: str, *gradients: Tensor | float, start: float = 1.0, **knobs: Any) -> Tensor:
    """How far an optimizer has moved weights, given the gradients one after another."""
    slopes = [torch.as_tensor(g, dtype=torch.float64) for g in gradients]
    weight = nn.Parameter(torch.full_like(slopes[0], start))
    optimizer = optimizers[name].make([("weight", weight)], **knobs)
    for slope in slopes:
        weight.grad = slope.clone()
        optimizer.step()
    return weight.detach() - start


def same_at_any_scale(name: str) -> Claim:
    plain, scaled = (moved(name, k * SLOPES, k * OTHERS, lr=0.01, eps=1e-30) for k in (1.0, 1000.0))
    return Claim("a loss 1000 times as large changes two steps by", gap(plain, scaled), 0)


@check("sgd")
def plain_steps() -> Iterator[Claim]:
    taken = moved("sgd", SLOPES, OTHERS, lr=0.1)
    yield Claim("two steps are -lr (g₁ + g₂), off by", gap(taken, -0.1 * (SLOPES + OTHERS)), 0)
    decayed = moved("sgd", 2.0, start=3.0, lr=0.1, weight_decay=0.01).item()
    yield Claim("weight decay λ adds λθ to the gradient", decayed, -0.1 * (2 + 0.01 * 3))


@check("sgd_momentum")
def steps_with_momentum() -> Iterator[Claim]:
    g1, g2, lr = 2.0, -3.0, 0.1
    for mu in (0.9, -0.5):
        taken = moved("sgd_momentum", g1, g2, lr=lr, momentum=mu).item()
        yield Claim(f"two steps at momentum {mu:g}", taken, -lr * (g1 + mu * g1 + g2))
        taken = moved("sgd_momentum", g1, g2, lr=lr, momentum=mu, nesterov=True).item()
        ahead = (g1 + mu * g1) + (g2 + mu * (mu * g1 + g2))
        yield Claim(f"two of Nesterov's steps at momentum {mu:g}", taken, -lr * ahead)
    decayed = moved("sgd_momentum", g1, start=3.0, lr=lr, weight_decay=0.01).item()
    yield Claim("weight decay λ adds λθ to the gradient", decayed, -lr * (g1 + 0.01 * 3))


@check("adam")
def steps_of_adam() -> Iterator[Claim]:
    taken = moved("adam", SLOPES, lr=0.01, eps=1e-30)
    yield Claim("the first step is -lr · sign(g), off by", gap(taken, -0.01 * SLOPES.sign()), 0)
    yield same_at_any_scale("adam")
    knobs = {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "eps": 1e-30}
    # m̂ = 1, -1 and v̂ = 1, 0.49 / 0.19.
    expected = -0.01 * (1 - math.sqrt(0.19) / 0.7)
    yield Claim("two steps, at g = 1 and -2", moved("adam", 1.0, -2.0, **knobs).item(), expected)
    taken = moved("adam", 0.0, start=-3.0, weight_decay=0.1, **knobs)
    yield Claim("weight decay is rescaled like a gradient", taken.item(), 0.01)
    knobs |= {"beta1": 0.0, "beta2": 0.5}
    # v = 0.5, then 0.375; v̂ takes the larger over 1 - ½².
    late = moved("adam", 1.0, 0.5, amsgrad=True, **knobs) - moved("adam", 1.0, **knobs)
    yield Claim("AMSGrad keeps the largest v", late.item(), -0.01 * 0.5 / math.sqrt(0.5 / 0.75))


@check("adamw")
def steps_of_adamw() -> Iterator[Claim]:
    knobs = {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "start": 3.0}
    still = moved("adamw", 0.0, 0.0, weight_decay=0.1, **knobs).item()
    yield Claim("without a gradient, θ shrinks by 1 - lr · λ", 3 + still, 3 * (1 - 0.001) ** 2)
    both = moved("adamw", SLOPES, weight_decay=0.1, **knobs)
    alone = moved("adam", SLOPES, **knobs)
    yield Claim("a step is Adam's less lr · λθ, off by", gap(both, alone - 0.01 * 0.1 * 3), 0)
    taken = moved("adamw", SLOPES, lr=0.01, eps=1e-30, start=0.0)
    yield Claim(
        "at θ = 0, the first step is -lr · sign(g), off by", gap(taken, -0.01 * SLOPES.sign()), 0
    )
    yield same_at_any_scale("adamw")


@check("optimistic_adam")
def optimistic_steps() -> Iterator[Claim]:
    knobs = {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "eps": 1e-30}
    for n in (1, 5):
        taken = moved("optimistic_adam", *[SLOPES] * n, **knobs)
        off = gap(taken, -0.01 * (n + 1) * SLOPES.sign())
        yield Claim(f"after {n} equal gradients: -(n + 1) lr · sign(g), off by", off, 0)
    # Adam's directions at g = 1 and -2: 1, and -√0.19 / 0.7.
    expected = -0.01 * (2 - 2 * math.sqrt(0.19) / 0.7 - 1)
    total = moved("optimistic_adam", 1.0, -2.0, **knobs).item()
    yield Claim("two steps, at g = 1 and -2", total, expected)
    yield same_at_any_scale("optimistic_adam")
    # With a huge ε Adam's direction is the gradient over ε: steps of a plain rate of 0.1.
    plain = {"lr": 1e8, "eps": 1e9, "beta1": 0.0}
    for name, expected in (
        ("adam", math.sqrt(1 + 0.1**2)),
        ("optimistic_adam", math.sqrt((1 + math.sqrt(1 - 4 * 0.1**2)) / 2)),
    ):
        rate = Bilinear(name, plain).pace(after=20)
        yield Claim(f"the bilinear game, from round to round, under {name}", rate, expected)


@check("rmsprop")
def steps_of_rmsprop() -> Iterator[Claim]:
    knobs = {"lr": 0.01, "alpha": 0.9, "eps": 1e-30}
    off = gap(moved("rmsprop", SLOPES, **knobs), -0.01 / math.sqrt(0.1) * SLOPES.sign())
    yield Claim("the first step is -lr / √(1 - α) · sign(g), off by", off, 0)
    taken = moved("rmsprop", SLOPES, centered=True, **knobs)
    off = gap(taken, -0.01 / math.sqrt(0.09) * SLOPES.sign())
    yield Claim("centered: -lr / √(α (1 - α)) · sign(g), off by", off, 0)
    first, second = 1 / math.sqrt(0.1), 1 / math.sqrt(0.19)
    total = moved("rmsprop", 1.0, 1.0, momentum=0.5, **knobs).item()
    expected = -0.01 * (first + 0.5 * first + second)
    yield Claim("two steps at g = 1 with momentum ½", total, expected)
    yield same_at_any_scale("rmsprop")


@check("adagrad")
def steps_of_adagrad() -> Iterator[Claim]:
    for k in (1, 2, 10):
        total = moved("adagrad", *[3.0] * k, lr=0.1).item()
        expected = -0.1 * sum(1 / math.sqrt(i) for i in range(1, k + 1))
        yield Claim(f"at a constant gradient, step k is -lr / √k: {k} steps", total, expected)
    yield same_at_any_scale("adagrad")


def small(g: Any, d: Any, **changes: Any) -> tuple[Gan, Progress]:
    """A GAN on points, as the trainer assembles it, with these optimizers."""
    plain = {"normalization": "none"}
    trial = Trial.read(
        {
            "data": "ring",
            "architecture": {"mlp_gan": {"hidden": 4}},
            "prior": {"gaussian_latent": {"size": 2}},
            "generator": plain | {"optimizer": g},
            "discriminator": plain | {"optimizer": d},
            "loss": "non_saturating",
            "schedule": "alternating_update",
            "batch": {"size": 10},
            "horizon_kimg": 0.1,
            **changes,
        }
    )
    progress = Progress(Streams(0), horizon=100)
    return assemble(trial, circle(10), progress), progress


def circle(n: int) -> Batch:
    angle = torch.arange(n) * (2 * math.pi / n)
    return Batch(torch.stack([angle.cos(), angle.sin()], dim=1))


def trained(gan: Gan, progress: Progress, rounds: int) -> list[Tensor]:
    """All weights, after some rounds."""
    for _ in range(rounds):
        play_round(gan, circle, progress, {})
    return [p.detach() for player in Player for p in gan.parameters(player)]


def distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return max(gap(a, b) for a, b in zip(some, others, strict=True))


@check("ttur")
def two_time_scales() -> Iterator[Claim]:
    falling = {"decay": "cosine", "decay_start": 0.2}
    gan, progress = small({"adam": {"lr": 1e-3, **falling}}, {"adam": {"lr": 4e-3, **falling}})
    ratios = []
    for _ in range(9):
        play_round(gan, circle, progress, {})
        rates = {p: o.param_groups[0]["lr"] for p, o in gan.optimizers.items()}
        ratios.append(rates[Player.D] / rates[Player.G])
    yield Claim("the least of D's rate over G's, of 4, as both fall", min(ratios), 4)
    yield Claim("the largest of D's rate over G's, of 4, as both fall", max(ratios), 4)
    held = {
        player: {id(p) for group in optimizer.param_groups for p in group["params"]}
        for player, optimizer in gan.optimizers.items()
    }
    shared = held[Player.D] & held[Player.G]
    yield Claim("weights that both optimizers step", len(shared), 0)
    every = {id(p) for player in Player for n in gan.of(player) for p in n.parameters()}
    yield Claim("weights that no optimizer steps", len(every - held[Player.D] - held[Player.G]), 0)
    equal = trained(*small({"adam": {"lr": 1e-3}}, {"adam": {"lr": 1e-3}}), 5)
    halves = trained(*small({"adam": {"lr": 1e-3}}, {"adam": {"lr": 4e-3}}), 5)
    again = trained(*small({"adam": {"lr": 1e-3}}, {"adam": {"lr": 1.0 * 1e-3}}), 5)
    yield Claim("a ratio of 1 is one rate for both, off by", distance(equal, again), 0, within=0)
    yield Claim("a ratio of 4 leads elsewhere", float(distance(equal, halves) > 1e-4), 1)


@check("param_group_lr")
def rates_by_name() -> Iterator[Claim]:
    rates = {"rates": {"head.*": 0.0, "hidden.0.*": 0.1}}
    for name in optimizers:
        gan, progress = small({name: {}}, {name: {"lr": 0.01, **rates}})
        network = gan.of(Player.D)[0]
        before = {k: p.detach().clone() for k, p in network.named_parameters()}
        trained(gan, progress, 5)
        after = dict(network.named_parameters())
        head = [k for k in after if k.startswith("head.")]
        change = max(gap(after[k].detach(), before[k]) for k in head)
        yield Claim(f"{name}: weights of rate 0 change by", change, 0, within=0)
        slope = max(float(g.abs().max()) for k in head if (g := after[k].grad) is not None)
        yield Claim(f"{name}: and have a gradient", float(slope > 0), 1)
    gan, progress = small({"sgd": {}}, {"sgd": {"lr": 0.01, **rates}})
    found = {
        name: group["lr"]
        for group in gan.optimizers[Player.D].param_groups
        for name in group["param_names"]
    }
    for name, rate in (("head", 0.0), ("hidden.0", 0.001), ("hidden.1", 0.01)):
        mine = [r for k, r in found.items() if f".{name}." in k]
        yield Claim(f"the rate of {name}, of 0.01", sum(mine) / len(mine), rate, within=1e-12)


@check("lr_decay")
def falling_rates() -> Iterator[Claim]:
    shapes: dict[str, Callable[[float], float]] = {
        "linear": lambda behind: 1 - behind,
        "cosine": lambda behind: (1 + math.cos(math.pi * behind)) / 2,
    }
    for decay, shape in shapes.items():
        knobs = {"lr": 0.01, "decay": decay, "decay_start": 0.5}
        gan, progress = small({"sgd": knobs}, {"sgd": knobs})
        for images, behind in ((0, 0.0), (50, 0.0), (75, 0.5), (90, 0.8), (100, 1.0)):
            progress.images = images
            gan.descend(Player.G, progress)
            rate = gan.optimizers[Player.G].param_groups[0]["lr"]
            what = f"{decay}: the rate, of 0.01, after {images} % of the images"
            yield Claim(what, rate, 0.01 * shape(behind), within=1e-12)


@check("gradient_clip_value")
def clipped_by_value() -> Iterator[Claim]:
    sgd, clip = {"lr": 1.0}, {"value": 0.5}
    for slope, step in ((3.0, 0.5), (-4.0, -0.5), (0.1, 0.1)):
        duel = Bilinear("sgd", sgd, {"gradient_clip_value": clip}, start=(0.0, slope))
        yield Claim(f"D's step at a gradient of {slope:g} and a limit of ½", -duel.play()[0], step)
        seen = duel.seen["discriminator gradient"].item()
        yield Claim(f"the gradient that is reported, of {slope:g}", seen, abs(slope))
    one = {"gradient_clip_value": clip | {"on": "generator"}}
    w, theta = Bilinear("sgd", sgd, one, start=(3.0, 4.0)).play()
    yield Claim("on the generator alone: D's step, at a gradient of 4", 3 - w, 4)
    yield Claim("on the generator alone: G's step, at a gradient of -3", theta - 4, 0.5)


@check("gradient_clip_norm")
def clipped_by_norm() -> Iterator[Claim]:
    first = torch.tensor(0)
    for norm, scale in ((2, 5.0), ("inf", 4.0)):
        for limit in (1.0, 10.0):
            clip = {"gradient_clip_norm": {"max_norm": limit, "norm": norm}}
            gan, progress = small({"sgd": {}}, {"sgd": {"lr": 1.0}}, tricks=clip)
            weights = gan.parameters(Player.D)
            before = [p.detach().clone() for p in weights]
            for weight, slope in zip(weights, (3.0, *[0.0] * (len(weights) - 2), 4.0), strict=True):
                slopes = torch.zeros_like(weight).flatten().index_fill(0, first, slope)
                weight.grad = slopes.view_as(weight)
            gan.tricks.gradients(Player.D, gan.networks, progress)
            gan.step(Player.D, progress)
            steps = [b - p.detach() for b, p in zip(before, weights, strict=True)]
            taken = torch.stack([s.norm() for s in steps]).norm().item()
            what = f"(3, 4), of two layers, clipped to {limit:g} in norm {norm}: the step's length"
            yield Claim(what, taken, 5 * min(1.0, limit / scale), within=2e-6)
    clip = {"gradient_clip_norm": {"max_norm": 1.0}}
    duel = Bilinear("sgd", {"lr": 1.0}, clip, start=(0.0, -5.0))
    yield Claim("D's step in a round, at a gradient of -5 and a limit of 1", duel.play()[0], 1)
    yield Claim("the norm that is reported", duel.seen["discriminator gradient"].item(), 5)


@check("extragradient")
def looking_ahead() -> Iterator[Claim]:
    eta, w, theta = 0.1, 1.0, 2.0
    sgd, used = {"lr": eta}, {"extragradient": dict[str, Any]()}
    ahead = w - eta * theta, theta + eta * w
    end = Bilinear("sgd", sgd, used, start=(w, theta)).play()
    yield Claim("one step in the bilinear game: w", end[0], w - eta * ahead[1])
    yield Claim("one step in the bilinear game: θ", end[1], theta + eta * ahead[0])
    exact = math.sqrt((1 - eta**2) ** 2 + eta**2)
    rate = Bilinear("sgd", sgd, used).pace()
    yield Claim("the bilinear game, from round to round, with it", rate, exact)
    rate = Bilinear("sgd", sgd).pace()
    yield Claim("the bilinear game, from round to round, without", rate, math.sqrt(1 + eta**2))
    end = Bilinear("sgd", sgd, used, schedule="alternating_update", start=(w, theta)).play()
    stepped = w - eta * ahead[1]
    yield Claim("one alternating round: w", end[0], stepped)
    yield Claim("one alternating round: θ", end[1], theta + eta * (stepped - eta * theta))
    duel = Bilinear("adam", {"lr": eta}, used)
    duel.play(3)
    states = [state for o in duel.gan.optimizers.values() for state in o.state.values()]
    seen = max(state["step"].item() for state in states)
    yield Claim("gradients that Adam's moments have seen after 3 rounds", seen, 3)
