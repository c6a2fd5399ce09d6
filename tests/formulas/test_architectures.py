"""Architectures: shapes, ranges and the number of weights."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from sweeper.catalog.architectures.progressive_growing import Growing
from sweeper.catalog.convolutions.conv import Conv
from sweeper.catalog.families import architectures, normalizations
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Context, Layers, Player
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.trial.networks import probe
from tests.contracts.same import differences
from tests.formulas.games import progress


class Plain(Layers):
    """Batch norm everywhere, and nothing else beside."""

    def norm(self, channels: int) -> nn.Module:
        norm = normalizations["batch_norm"].make(channels)
        return self.weighted(norm)

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True) -> nn.Module:
        return Conv(inputs, outputs, kernel, self, bias)


class Bare(Plain):
    """No normalization."""

    def norm(self, channels: int) -> nn.Module:
        return normalizations["none"].make(channels)


def size_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("side", [8, 16, 32, 64])
@pytest.mark.parametrize("colours", [1, 3])
def test_dcgan(side: int, colours: int) -> None:
    c, latent, shape = 8, 10, (colours, side, side)
    made = architectures["dcgan"].make(channels=c)
    g, d = made.generator(shape, latent, Plain()), made.discriminator(shape, Plain())
    x = g(torch.randn(5, latent), Context())
    assert x.shape == (5, *shape)
    assert float(x.detach().abs().max()) <= 1
    output = d(Batch(x))
    assert output.scores.shape == (5,)
    assert [len(f) for f in output.features] == [5] * {8: 1, 16: 2, 32: 3, 64: 4}[side]
    widths = [c << k for k in range({8: 1, 16: 2, 32: 3, 64: 4}[side])]
    between = sum(16 * a * b for a, b in itertools.pairwise(widths))
    top = widths[-1]
    assert size_of(g) == (
        16 * latent * top + between + 2 * sum(widths) + 16 * c * colours + colours
    )
    assert size_of(d) == 16 * colours * c + c + between + 2 * sum(widths[1:]) + 16 * top + 1


def test_dcgan_starts_small() -> None:
    made = architectures["dcgan"].make(channels=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        d = made.discriminator((3, 32, 32), Plain())
    for module in d.modules():
        if isinstance(module, nn.Conv2d):
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm1d):
            assert float(module.weight.detach().mean()) == pytest.approx(1, abs=0.01)
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("name", ["dcgan", "sndcgan", "resnet_gan", "progressive_growing"])
@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 28, 28), (1, 16, 32), (1, 0, 0), (1, 12, 12)])
def test_squares_of_a_power_of_two(name: str, shape: tuple[int, ...]) -> None:
    wrong = f"{name} takes .* power of two from 8 up, but got {shape[1]}x{shape[2]}"
    for side in ("generator", "discriminator"):
        with pytest.raises(ValueError, match=wrong):
            built(name, side, shape)


@pytest.mark.parametrize("name", ["dcgan", "sndcgan", "resnet_gan", "progressive_growing"])
def test_widths_double_up_to_sixteen_times(name: str) -> None:
    with torch.device("meta"):
        g, d = built(name, "generator", (3, 256, 256)), built(name, "discriminator", (3, 256, 256))
    assert max(p.shape[0] for p in d.parameters()) == 32
    assert max(p.shape[0] for p in g.parameters() if p.ndim == 1) == 32
    assert d.width == 32


def built(name: str, side: str, shape: tuple[int, ...], **knobs: Any) -> Any:
    made = architectures[name].make(channels=2, **knobs)
    if side == "generator":
        return made.generator(shape, 8, Plain())
    return made.discriminator(shape, Plain())


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_mlp_gan(shape: tuple[int, ...], depth: int) -> None:
    h, latent, k = 16, 6, torch.Size(shape).numel()
    made = architectures["mlp_gan"].make(hidden=h, depth=depth)
    g, d = made.generator(shape, latent, Plain()), made.discriminator(shape, Plain())
    x = g(torch.randn(5, latent), Context())
    assert x.shape == (5, *shape)
    assert d(Batch(x)).scores.shape == (5,)
    inner, norm = (h + 1) * h * (depth - 1), 2 * h
    assert size_of(g) == (latent + 1) * h + inner + norm * depth + (h + 1) * k
    assert size_of(d) == (k + 1) * h + inner + norm * (depth - 1) + h + 1
    if len(shape) == 3:
        assert float(g(1e4 * torch.randn(5, latent), Context()).detach().abs().max()) <= 1


def test_points_are_not_squashed() -> None:
    g = architectures["mlp_gan"].make().generator((2,), 4, Plain())
    with torch.no_grad():
        g.head.bias.fill_(5.0)
    assert float(g(torch.randn(8, 4), Context()).detach().max()) > 1


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("colours", [1, 3])
def test_sndcgan(side: int, colours: int) -> None:
    c, latent, n = 4, 6, {8: 1, 32: 3}[side]
    shape = (colours, side, side)
    made = architectures["sndcgan"].make(channels=c)
    g, d = made.generator(shape, latent, Plain()), made.discriminator(shape, Bare())
    x = g(torch.randn(5, latent), Context())
    assert x.shape == (5, *shape)
    output = d(Batch(x))
    assert output.scores.shape == (5,)
    sizes = [f.shape[-1] for f in output.features]
    assert sizes == [side >> k // 2 for k in range(1, 2 * n + 2)]
    widths = [c << k for k in range(n + 1)]
    between = sum(16 * a * b for a, b in itertools.pairwise(widths))
    assert size_of(g) == (
        16 * latent * widths[-1]
        + widths[-1]
        + between
        + 2 * sum(widths)
        + 9 * c * colours
        + colours
    )
    kept = sum((9 * a + 1) * b for a, b in itertools.pairwise([colours, *widths]))
    halved = sum((16 * b + 1) * b for b in widths[:-1])
    assert size_of(d) == kept + halved + 16 * widths[-1] + 1
    leaks = {m.negative_slope for m in d.modules() if isinstance(m, nn.LeakyReLU)}
    assert leaks == {0.1}


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("depth", [1, 2])
def test_resnet_gan(side: int, depth: int) -> None:
    c, latent, n, shape = 4, 6, {8: 1, 32: 3}[side], (3, side, side)
    made = architectures["resnet_gan"].make(channels=c, depth=depth)
    g, d = made.generator(shape, latent, Plain()), made.discriminator(shape, Bare())
    x = g(torch.randn(5, latent), Context())
    assert x.shape == (5, *shape)
    output = d(Batch(x))
    assert output.scores.shape == (5,)
    assert len(output.features) == n * depth + 1
    widths = [c << k for k in range(n)]

    def resizing(a: int, b: int, norms: int = 0) -> int:
        return (9 * a + 1) * b + (9 * b + 1) * b + (a + 1) * b + norms * 2 * (a + b)

    def keeping(b: int, norms: int = 0) -> int:
        return 2 * (9 * b + 1) * b + norms * 4 * b

    ups = sum(resizing(a, b, 1) for a, b in itertools.pairwise([widths[-1], *widths[::-1]]))
    more = (depth - 1) * sum(keeping(b, 1) for b in widths)
    ends = (16 * latent + 1) * widths[-1] + 2 * c + (9 * c + 1) * 3
    assert size_of(g) == ups + more + ends
    downs = sum(resizing(a, b) for a, b in itertools.pairwise([3, *widths]))
    more = (depth - 1) * sum(keeping(b) for b in widths)
    assert size_of(d) == downs + more + keeping(widths[-1]) + widths[-1] + 1


@pytest.mark.parametrize("side", ["generator", "discriminator"])
def test_a_residual_block_without_a_residue_is_its_skip(side: str) -> None:
    network = built("resnet_gan", side, (3, 16, 16), depth=2)
    for block in network.blocks:
        with torch.no_grad():
            for p in block.second.parameters():
                p.zero_()
        first = next(iter(block.first.parameters()))
        x = torch.randn(2, first.shape[1], 8, 8)
        y = block(x, Context())
        if len(block.skip) == 0:
            assert torch.equal(y, x)
            continue
        conv = next(m for m in block.skip if isinstance(m, nn.Conv2d))
        resized = interpolate(x, scale_factor=2) if side == "generator" else avg_pool2d(x, 2)
        torch.testing.assert_close(y, conv(resized))


def test_a_residual_discriminator_rectifies_no_image_and_sums_over_space() -> None:
    made = architectures["resnet_gan"].make(channels=2)
    d = made.discriminator((3, 16, 16), Bare())
    assert d.blocks[0].begin is None
    assert all(block.begin is not None for block in d.blocks[1:])
    output = d(Batch(torch.randn(4, 3, 16, 16)))
    last = output.features[-1]
    assert float(last.detach().min()) >= 0
    torch.testing.assert_close(
        output.scores, last.sum((2, 3)) @ d.head.score.weight[0] + d.head.score.bias
    )


def growing(**knobs: Any) -> tuple[Any, nn.Module, nn.Module]:
    """Networks without normalization for images of 32 px: of 4, 8, 16 and 32 px."""
    made = architectures["progressive_growing"].make(channels=2, **knobs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made, made.generator((3, 32, 32), 6, Bare()), made.discriminator((3, 32, 32), Bare())


def at(network: nn.Module, grown: float) -> nn.Module:
    for module in network.modules():
        if isinstance(module, Growing):
            module.grown.fill_(grown)
    return network


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_new_stage_begins_as_the_one_before_it_and_ends_as_its_own_path(stage: int) -> None:
    _, g, d = growing()
    z, x = torch.randn(3, 6), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        before, at_once = (at(g, grown)(z, Context()) for grown in (stage - 1, stage - 1 + 1e-6))
        torch.testing.assert_close(before, at_once, atol=1e-5, rtol=0)
        larger = 4 << stage
        small = avg_pool2d(before, 32 // (larger // 2))
        torch.testing.assert_close(before, interpolate(small, 32))
        old, new = (at(d, grown)(Batch(x)).scores for grown in (stage - 1, stage - 1 + 1e-6))
        torch.testing.assert_close(old, new, atol=1e-5, rtol=1e-5)
        for network in (g, d):
            at(network, stage)
            for p in network.images[:stage].parameters():
                p.fill_(math.nan)
        assert g(z, Context()).isfinite().all(), "the old way to an image is not gone any more"
        assert d(Batch(x)).scores.isfinite().all()


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_while_it_fades_in_both_paths_are_blended(alpha: float) -> None:
    _, g, d = growing()
    z = torch.randn(3, 6)
    outputs = dict[float, Tensor]()
    with torch.no_grad():
        for grown in (1.0, 1 + alpha, 2.0):
            outputs[grown] = torch.atanh(at(g, grown)(z, Context()).double())
        blended = (1 - alpha) * outputs[1.0] + alpha * outputs[2.0]
        torch.testing.assert_close(outputs[1 + alpha], blended, atol=1e-5, rtol=1e-4)
        x = torch.randn(3, 3, 32, 32)
        small = avg_pool2d(x, 2)
        old, new = d.images[1](avg_pool2d(small, 2)), d.blocks[-2](d.images[2](small), Context())
        inside = d.blocks[-1]((1 - alpha) * old + alpha * new, Context())
        torch.testing.assert_close(at(d, 1 + alpha)(Batch(x)).features[1], inside)


def test_real_images_are_shown_as_fakes_are() -> None:
    made, g, _ = growing(fade_kimg=1, stable_kimg=1)
    x = torch.randn(2, 3, 32, 32)

    def seen(images: int) -> Tensor:
        shown: Batch = made.view("main", Batch(x), lambda name: x, progress(8000, images))
        return shown.image

    assert torch.equal(seen(0), interpolate(avg_pool2d(x, 8), scale_factor=8))
    new, old = avg_pool2d(x, 4), interpolate(avg_pool2d(x, 8), scale_factor=2)
    blended = interpolate(0.75 * old + 0.25 * new, scale_factor=4)
    torch.testing.assert_close(seen(1250), blended)
    assert torch.equal(seen(7000), x)
    for images in (0, 1250, 3000):
        for module in g.modules():
            if isinstance(module, Growing):
                module.pace(progress(8000, images))
        fake = g(torch.randn(2, 6), Context()).detach()
        flat = {0: 8, 1250: 4, 3000: 4}[images]
        torch.testing.assert_close(fake, interpolate(avg_pool2d(fake, flat), scale_factor=flat))


def test_alpha_goes_along_a_line_and_never_back() -> None:
    growth = (
        architectures["progressive_growing"].make(fade_kimg=2, stable_kimg=1).growth((1, 16, 16))
    )
    known = {0: 0, 999: 0, 1000: 0, 1500: 0.25, 2000: 0.5, 3000: 1, 3999: 1, 5000: 1.5, 6000: 2}
    for images, grown in known.items():
        assert growth.at(progress(10_000, images)) == pytest.approx(grown)
    passed = [growth.at(progress(10_000, n)) for n in range(0, 10_001, 10)]
    assert passed == sorted(passed)
    assert passed[-1] == 2


@pytest.mark.parametrize(
    ("knobs", "times"),
    [
        ({}, (2000, 2000)),
        ({"fade_kimg": 1}, (8 / 3 * 1000, 1000)),
        ({"stable_kimg": 3}, (3000, 500)),
        ({"fade_kimg": 0.5, "stable_kimg": 0.25}, (250, 500)),
    ],
)
def test_what_is_left_out_is_a_share_of_the_horizon(
    knobs: dict[str, float], times: tuple[float, float]
) -> None:
    growth = architectures["progressive_growing"].make(**knobs).growth((1, 16, 16))
    assert growth.lasting(10_000) == pytest.approx(times)


def progan(tiny: Any, **changes: Any) -> Trial:
    knobs = changes.pop("knobs", {})
    return Trial.read(
        tiny(architecture={"progressive_growing": {"channels": 2, **knobs}}, **changes)
    )


def test_a_horizon_that_does_not_cover_all_stages_is_refused(tiny: Any) -> None:
    knobs = {"fade_kimg": 0.01, "stable_kimg": 0.02}
    probe(progan(tiny, knobs=knobs, horizon_kimg=0.05), (1, 8, 8))
    with pytest.raises(
        Misfit, match=r"2 of them up to 8 px take 0.05 kimg, but horizon_kimg is 0.049"
    ):
        probe(progan(tiny, knobs=knobs, horizon_kimg=0.049), (1, 8, 8))
    with pytest.raises(
        Misfit, match="more than start_res, but start_res is 8, and images are of 8"
    ):
        probe(progan(tiny, knobs={"start_res": 8}), (1, 8, 8))


def test_a_growing_trial_continues_as_if_it_had_never_stopped(
    tiny: Any, cache: Path, tmp_path: Path
) -> None:
    trial = progan(tiny, tricks={"ema": {"half_life_kimg": 0.01}})
    whole = Training(trial, cache)
    grown = list[tuple[float, ...]]()
    first = Training(trial, cache)
    Checkpoints(tmp_path).save(first.advance().images, first.state_dict())
    while not whole.finished:
        whole.advance()
        networks = [whole.gan.of(p)[0] for p in Player]
        grown.append(tuple(float(n.grown) for n in [*networks, whole.gan.eval_generator()]))
    assert [len(set(g)) for g in grown] == [1, 1, 1], "players and the average grow together"
    assert grown[0][0] < grown[1][0] < grown[2][0] == 1
    again = Training(trial, cache)
    state = Checkpoints(tmp_path).load()
    assert state is not None
    again.load_state_dict(state)
    while not again.finished:
        again.advance()
    assert list(differences(again.state_dict(), whole.state_dict())) == []


def test_all_layers_are_trained_and_averaged_from_the_start(tiny: Any, cache: Path) -> None:
    training = Training(progan(tiny, tricks={"ema": {"half_life_kimg": 1}}), cache)
    gan = training.gan
    for player in Player:
        held = {id(p) for group in gan.optimizers[player].param_groups for p in group["params"]}
        assert held == {id(p) for p in gan.of(player)[0].parameters()}
    shown = gan.eval_generator()
    assert (
        dict(shown.named_parameters()).keys() == dict(gan.of(Player.G)[0].named_parameters()).keys()
    )
