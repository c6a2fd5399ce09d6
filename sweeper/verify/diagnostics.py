"""Diagnostics, on courses of training that were made up so that only one thing can be said."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from sweeper.catalog.diagnostics.trends import slope, steadiness
from sweeper.catalog.families import diagnostics
from sweeper.stream import Layer, Measurement, Stream, Variety, Window, pooled
from sweeper.trial.watch import WINDOW, Watch
from sweeper.verify.claims import Claim, check

D, G = "discriminator.adversarial", "generator.adversarial"
SILENT, HEALTHY, WARN, FAIL = 0.0, 1.0, 2.0, 3.0
LEVELS = {"healthy": HEALTHY, "warn": WARN, "fail": FAIL}


def windows(**values: Sequence[float]) -> tuple[Window, ...]:
    """What the watch makes of these values, one a round; ``D`` and ``G`` are adversarial losses,
    and an underscore is a space."""
    names = {key: {"D": D, "G": G}.get(key, key.replace("_", " ")) for key in values}
    watch, closed = Watch(), list[Window]()
    for i, row in enumerate(zip(*values.values(), strict=True), 1):
        watch.note(10 * i, dict(zip(names.values(), torch.tensor(row), strict=True)))
        if i % WINDOW == 0:
            watch.look()
            closed += watch.windows()
    return tuple(closed)


def measured(images: int = 0, score: float = 1.0, best: float = 1.0, **more: Any) -> Measurement:
    return Measurement(images, score, best, {}, 0.0, 0.0, **more)


def course(equilibrium: float | None = None, critic: bool = False, **values: Any) -> Stream:
    """Training that showed these values, one a round, and was measured at its end."""
    seen = windows(**values)
    return Stream([measured(seen[-1].images, windows=seen)], equilibrium, critic)


def says(name: str, stream: Stream, **knobs: Any) -> float:
    """The level of what a diagnostic concludes."""
    verdict = diagnostics[name].make(**knobs)(stream)
    return SILENT if verdict is None else LEVELS[verdict.level]


def noise(n: int, seed: int = 0) -> list[float]:
    values: list[float] = torch.randn(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return values


@check("d_loss_zero")
def a_dead_game() -> Iterator[Claim]:
    even = 2 * math.log(2)
    falling = [even * 10 ** (-k / 250) for k in range(1000)]
    yield Claim("loss from 1.39 to 1e-4", says("d_loss_zero", course(even, D=falling)), FAIL)
    yield Claim("loss at 1.39", says("d_loss_zero", course(even, D=[even] * 1000)), SILENT)
    critic = course(None, True, D=[1e-3] * 1000)
    yield Claim("a critic's loss near 0", says("d_loss_zero", critic), SILENT)
    short = course(even, D=[even] * 500 + [0.0] * 300)
    yield Claim("two windows near 0 of three", says("d_loss_zero", short), SILENT)
    edge = [course(2.0, D=[x] * 300) for x in (0.0999, 0.1001)]
    yield Claim("below a twentieth of 2", says("d_loss_zero", edge[0]), FAIL)
    yield Claim("above a twentieth of 2", says("d_loss_zero", edge[1]), SILENT)


@check("grad_norm_monitor")
def a_blown_gradient() -> Iterator[Claim]:
    for player in ("discriminator", "generator"):
        for norm, level in ((101.0, WARN), (99.0, SILENT)):
            values: Mapping[str, Any] = {f"{player}_gradient": [norm] * 100}
            level_of = says("grad_norm_monitor", course(**values))
            yield Claim(f"{player}'s norm of {norm:g}", level_of, level)
    for often, level in ((10, WARN), (9, SILENT)):
        stream = course(generator_gradient=[101.0] * often + [1.0] * (100 - often))
        yield Claim(f"{often} of 100 norms above 100", says("grad_norm_monitor", stream), level)


@check("d_loss_variance")
def a_jumping_loss() -> Iterator[Claim]:
    even = [1 + 0.1 * x for x in noise(500)]
    spiky = [9.0 if i % 50 == 7 else x for i, x in enumerate(even)]
    whole = pooled(course(D=spiky).series(D))
    yield Claim("jumps among white noise", whole.spikes, 10)
    yield Claim("jumps of white noise", pooled(course(D=even).series(D)).spikes, 0)
    yield Claim("2 % of rounds are jumps", says("d_loss_variance", course(D=spiky)), WARN)
    falling = [x - i / 5000 for i, x in enumerate(even)]
    yield Claim("a calm loss that falls", says("d_loss_variance", course(D=falling)), HEALTHY)
    rising = [x + i / 5000 for i, x in enumerate(even)]
    yield Claim("a calm loss that rises", says("d_loss_variance", course(D=rising)), SILENT)
    wild = [1 + 0.5 * x for x in noise(500)]
    yield Claim("deviation of half the mean", says("d_loss_variance", course(D=wild)), SILENT)
    line = [3.0 - 0.25 * k for k in range(20)]
    yield Claim("slope of a line", slope(range(20), line), -0.25, 1e-12)
    direct = torch.tensor(spiky, dtype=torch.float64)
    yield Claim("mean over windows", whole.mean, float(direct.mean()), 1e-5)
    yield Claim("deviation over windows", whole.deviation, float(direct.std(correction=0)), 1e-5)


@check("g_loss_steady_fall")
def a_fooled_d() -> Iterator[Claim]:
    def trained(seen: tuple[Window, ...], scores: tuple[float, float], **more: Any) -> Stream:
        half = len(seen) - 20
        first = measured(seen[half - 1].images, scores[0], scores[0], windows=seen[:half])
        last = measured(seen[-1].images, scores[1], min(scores), windows=seen[half:])
        return Stream([first, last], **more)

    course = [2 - i / 2000 for i in range(2100)]
    falling, rising, noisy = windows(G=course), windows(G=course[::-1]), windows(G=noise(2100))
    tests = {
        "falls, and the score stays": (trained(falling, (50, 50)), WARN),
        "falls, and the score gains 2 %": (trained(falling, (50, 49)), SILENT),
        "rises": (trained(rising, (50, 50)), SILENT),
        "is noise": (trained(noisy, (50, 50)), SILENT),
        "falls, of a critic with content": (
            trained(falling, (50, 50), critic=True, content=["feature_matching"]),
            SILENT,
        ),
    }
    for what, (stream, level) in tests.items():
        yield Claim(f"G's loss {what}", says("g_loss_steady_fall", stream), level)
    yield Claim("τ of a falling row", steadiness([5, 4, 3, 2]), -1, 1e-12)
    yield Claim("τ with one of six pairs turned", steadiness([5, 4, 2, 3]), -2 / 3, 1e-12)


@check("d_output_half")
def an_even_d() -> Iterator[Claim]:
    def believed(real: float, fake: float, scores: Sequence[float]) -> Stream:
        """Three windows in the end, after the last score but one."""
        seen = windows(real_belief=[real] * 400, fake_belief=[fake] * 400)
        first = measured(1, scores[0], scores[0])
        middle = measured(seen[0].images, scores[1], min(scores[:2]), windows=seen[:1])
        return Stream([first, middle, measured(9999, scores[2], min(scores), windows=seen[1:])])

    sure = 1 / (1 + math.exp(-5))
    tests = {
        "scores of 0, and a score ten times better": (believed(0.5, 0.5, (90, 30, 9)), HEALTHY),
        "scores of 0, and a score no better": (believed(0.5, 0.5, (90, 89, 89)), WARN),
        "scores of 0, and a score that is falling": (believed(0.5, 0.5, (90, 80, 60)), SILENT),
        "real scores of 5 and fake ones of -5": (believed(sure, 1 - sure, (90, 9, 9)), SILENT),
        "only the fakes are unclear": (believed(sure, 0.5, (90, 9, 9)), SILENT),
    }
    for what, (stream, level) in tests.items():
        yield Claim(what, says("d_output_half", stream), level)


@check("wgan_loss_trend")
def a_critic() -> Iterator[Claim]:
    def swinging(growth: float, drift: float = 0.0) -> Stream:
        """A distance that swings ten times a window, about a drift, and changes so much a round."""
        swing = [math.exp(growth * i) * (drift + math.cos(math.tau * i / 10)) for i in range(1000)]
        return course(None, True, D=[-x for x in swing], real_score=swing, fake_score=[0.0] * 1000)

    first = course(
        None,
        True,
        D=[-10.0] * 500 + [(-1.0) ** i for i in range(500)],
        real_score=[10.0] * 500 + [(-1.0) ** i for i in range(500)],
        fake_score=[0.0] * 1000,
    )
    yield Claim("falls to swings about 0", says("wgan_loss_trend", first), HEALTHY)
    yield Claim("decaying swings", says("wgan_loss_trend", swinging(-6e-3, 0.3)), HEALTHY)
    yield Claim("growing swings", says("wgan_loss_trend", swinging(6e-3, 0.3)), WARN)
    yield Claim("a distance that stays", says("wgan_loss_trend", swinging(0.0, 3.0)), SILENT)
    other = swinging(6e-3, 0.3)._replace(critic=False)
    yield Claim("a loss of logits", says("wgan_loss_trend", other), SILENT)


def evaluated(*varieties: Variety) -> Stream:
    return Stream([measured(i, variety=v) for i, v in enumerate(varieties)])


@check("mode_collapse")
def alike_samples() -> Iterator[Claim]:
    same, real = Variety(0.0, 0.0), Variety(1.0, 1.0, 1.0, 0, 0.0)
    few = Variety(1.0, 1.0, 2 / 8, 0, 1.0)
    tests = {
        "identical samples": (evaluated(same, same), WARN),
        "real examples": (evaluated(real, real), SILENT),
        "2 of 8 modes": (evaluated(few, few), WARN),
        "identical once": (evaluated(real, same), SILENT),
        "identical no more": (evaluated(same, real), SILENT),
        "a single evaluation": (evaluated(same), SILENT),
    }
    for what, (stream, level) in tests.items():
        yield Claim(what, says("mode_collapse", stream), level)
    yield Claim("action fail", says("mode_collapse", evaluated(few, few), action="fail"), FAIL)


@check("mode_hopping")
def other_modes() -> Iterator[Claim]:
    def chased(*dominant: int, coverage: float = 1 / 8) -> Stream:
        return evaluated(*(Variety(1.0, 1.0, coverage, mode, 1.0) for mode in dominant))

    tests = {
        "modes 0, 3, 1, 5, 2": (chased(0, 3, 1, 5, 2), WARN),
        "one mode throughout": (chased(3, 3, 3, 3, 3), SILENT),
        "two changes in five": (chased(3, 3, 4, 4, 3), SILENT),
        "all modes covered": (chased(0, 3, 1, 5, 2, coverage=1.0), SILENT),
        "four evaluations": (chased(0, 3, 1, 5), SILENT),
        "features without classes": (evaluated(*[Variety(1.0, 1.0)] * 5), SILENT),
    }
    for what, (stream, level) in tests.items():
        yield Claim(what, says("mode_hopping", stream), level)


@check("adversarial_ratio")
def what_outweighs() -> Iterator[Claim]:
    def paid(adversarial: float, content: float, n: int = 500) -> Stream:
        rows: Mapping[str, Any] = {"G": [adversarial] * n, "generator.matching": [content] * n}
        return course(**rows)._replace(content=["matching"])

    tests = {
        "-2 beside 1": (paid(-2.0, 1.0), WARN),
        "1 beside 2": (paid(1.0, 2.0), SILENT),
        "2 beside 1 for four windows": (paid(2.0, 1.0, 400), SILENT),
        "no content": (course(G=[2.0] * 500), SILENT),
    }
    for what, (stream, level) in tests.items():
        yield Claim(what, says("adversarial_ratio", stream), level)


@check("sparse_gradients")
def dead_layers() -> Iterator[Claim]:
    for share, level in ((0.91, WARN), (0.9, SILENT)):
        layers = {"discriminator.0.weight": Layer(1.0, share), "generator.0.weight": Layer(1, 0)}
        stream = Stream([measured(layers=layers)])
        yield Claim(f"a gradient {share:.0%} zero", says("sparse_gradients", stream), level)
