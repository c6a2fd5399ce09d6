"""Layers: what they compute, and that they fit into the networks, whatever stands beside them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from sweeper.catalog import families as of
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Context, Known, Pair
from sweeper.trial.assemble import optimizer
from sweeper.trial.networks import build, probe
from sweeper.verify import layers  # noqa: F401  (makes its claims)
from sweeper.verify.claims import CHECKS
from sweeper.verify.contracts import tiny

CLAIMS = {
    check.__name__: check
    for checks in CHECKS.values()
    for check in checks
    if check.__module__ == "sweeper.verify.layers"
}
MASKED = Known(mask=1)


def trial_of(generator: Any = None, discriminator: Any = None, **changes: Any) -> Trial:
    tree = tiny(**changes)
    tree["generator"] |= generator or {}
    tree["discriminator"] |= discriminator or {}
    return Trial.read(tree)


def pair_of(trial: Trial, size: int) -> Pair:
    return build(trial, (1, size, size), MASKED).networks["main"]


def played(pair: Pair, size: int, n: int = 3) -> tuple[Tensor, Tensor]:
    """Fakes, and what D says of them."""
    mask = torch.zeros(n, 1, size, size)
    mask[..., : size // 2] = 1
    fakes = pair.generator(torch.randn(n, 8), Context(mask=mask))
    return fakes, pair.discriminator(Batch(fakes, mask=mask)).scores


@pytest.mark.parametrize("name", CLAIMS)
def test_what_is_claimed_of_it_holds(name: str) -> None:
    claims = list(CLAIMS[name]())
    assert claims
    assert [claim for claim in claims if not claim.ok] == []


SIDES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"upsampling.{name}": ({"upsampling": name}, {}) for name in of.upsampling},
    **{f"downsampling.{name}": ({}, {"downsampling": name}) for name in of.downsampling},
    **{
        f"{kind}.{name}": ({kind: value}, {kind: value})
        for kind, value, name in [
            *(("activation", n, n) for n in of.activations),
            *(("initialization", n, n) for n in of.initializations),
            ("blocks", "squeeze_excitation", "squeeze_excitation"),
        ]
    },
    **{
        f"convolution.{name}": (
            {"convolution": name, "upsampling": "upsample_conv"},
            {"convolution": name, "downsampling": "avg_pool"},
        )
        for name in of.convolutions
    },
    **{f"output_conv.{kernel}": ({"output_conv": kernel}, {}) for kernel in (1, 3, 7, 9)},
}
"""Every layer that a side can choose, with those that give it a place in a DCGAN."""


@pytest.mark.parametrize("what", SIDES)
@pytest.mark.parametrize("size", [8, 32])
def test_dcgan_has_it(what: str, size: int) -> None:
    generator, discriminator = SIDES[what]
    if size == 8:  # whose only doubling makes the image, by an ordinary convolution
        generator = {k: v for k, v in generator.items() if k != "convolution"}
    pair = pair_of(trial_of(generator, discriminator), size)
    fakes, scores = played(pair, size)
    assert fakes.shape == (3, 1, size, size)
    assert scores.shape == (3,)
    (slope,) = torch.autograd.grad(scores.square().sum(), fakes, create_graph=True)
    slope.square().sum().backward()
    for network in pair:
        for name, parameter in network.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for network in pair:
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(kept)


@pytest.mark.parametrize("what", SIDES)
@pytest.mark.parametrize("size", [16, 64, 128, 256])
def test_dcgan_has_it_at_any_size(what: str, size: int) -> None:
    generator, discriminator = SIDES[what]
    probe(trial_of(generator, discriminator), (3, size, size), MASKED)


@pytest.mark.parametrize("at", [4, 8, 16, 32])
def test_attention_stands_where_it_was_put(at: int) -> None:
    chosen = {"blocks": {"self_attention": {"at": at}}}
    if at == 32:
        with pytest.raises(Misfit) as refused:
            pair_of(trial_of(chosen), 32)
        assert (
            "self_attention has no place: the hidden layers of the generator are 4, 8, 16 px"
            in (str(refused.value))
        )
        return
    for side, own in (("generator", trial_of(chosen)), ("discriminator", trial_of(None, chosen))):
        network = getattr(pair_of(own, 32), side)
        found = [m for m in network.modules() if hasattr(m, "attention")]
        sizes = list[int]()
        found[0].register_forward_hook(lambda m, x, y, sizes=sizes: sizes.append(x[0].shape[-1]))
        played(pair_of(own, 32)._replace(**{side: network}), 32)
        assert sizes == [at]
        assert len(found) == 1


NO_PLACE = {
    "generator.upsampling": ({"upsampling": "pixel_shuffle"}, {}, "mlp_gan"),
    "discriminator.downsampling": ({}, {"downsampling": "strided_conv"}, "mlp_gan"),
    "generator.output_conv": ({"output_conv": 3}, {}, "mlp_gan"),
}


@pytest.mark.parametrize("what", NO_PLACE)
def test_what_has_no_place_is_refused(what: str) -> None:
    generator, discriminator, architecture = NO_PLACE[what]
    with pytest.raises(Misfit, match=rf"{what}: \w+ has no place: the \w+ has no") as refused:
        pair_of(trial_of(generator, discriminator, architecture=architecture), 8)
    assert [".".join(map(str, p.path)) for p in refused.value.problems] == [what]


def test_a_convolution_needs_some() -> None:
    with pytest.raises(Misfit, match=r"gated_conv needs convolutions, which .*upsample_conv"):
        trial_of({"convolution": "gated_conv"})
    # At 8 px, the only doubling of a DCGAN makes the image.
    chosen = {"convolution": "gated_conv", "upsampling": "upsample_conv"}
    with pytest.raises(Misfit, match="has no convolution that keeps the size of its input"):
        pair_of(trial_of(chosen), 8)


def test_partial_convolution_needs_a_mask() -> None:
    chosen = {"convolution": "partial_conv", "upsampling": "upsample_conv"}
    with pytest.raises(Misfit, match="partial_conv needs masks, and the data has none"):
        build(trial_of(chosen), (1, 16, 16))
    layer: Any = of.convolutions["partial_conv"].make(2, 2, 3, Plainest())
    with pytest.raises(ValueError, match="partial_conv is told a mask for every example"):
        layer(torch.zeros(1, 2, 4, 4), Context())


class Plainest:
    """Layers as they are."""

    def weighted(self, layer: nn.Module) -> nn.Module:
        return layer


@pytest.mark.parametrize("unknown", ["inside", "outside"])
def test_partial_convolutions_go_through_sizes(unknown: str) -> None:
    small, large = (
        of.convolutions["partial_conv"].make(2, 2, 3, Plainest(), unknown=unknown) for _ in range(2)
    )
    mask = torch.zeros(1, 2, 8, 8)
    mask[:, 1, :6] = 1  # of several planes, any counts
    context = Context(mask=mask)
    small(torch.zeros(1, 2, 4, 4), context)
    known = large.known(torch.zeros(1, 2, 8, 8), context)
    first = 4 if unknown == "inside" else 0  # a row of 4 px that sees one that is known
    last = 8
    assert known[0, 0, first:last].all()
    assert not known[0, 0, :first].any()


def test_max_pooling_is_warned_of() -> None:
    (warning,) = trial_of(None, {"downsampling": "max_pool"}).warnings()
    assert warning.path == ("discriminator", "downsampling", "max_pool")
    assert "no activation has a gradient" in warning.law
    assert trial_of(None, {"downsampling": "avg_pool"}).warnings() == []


@pytest.mark.parametrize("name", of.initializations)
@pytest.mark.parametrize("constraint", ["spectral_norm", "weight_norm"])
def test_weights_are_drawn_before_they_are_constrained(name: str, constraint: str) -> None:
    side = {"initialization": name, "constraint": constraint}
    torch.manual_seed(0)
    bound = pair_of(trial_of(None, side), 16).discriminator
    torch.manual_seed(0)
    free = pair_of(trial_of(None, {"initialization": name}), 16).discriminator
    own, plain = bound.first.conv, free.first.conv
    assert is_parametrized(own)
    torch.testing.assert_close(own.weight / own.weight.norm(), plain.weight / plain.weight.norm())


def test_the_same_seed_draws_the_same_weights() -> None:
    trial = trial_of({"initialization": "orthogonal", "upsampling": "pixel_shuffle"})
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(pair_of(trial, 16).generator.state_dict()["first.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("pyramid", ["average", "max", "bilinear"])
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_scales(pyramid: str, scales: int) -> None:
    one = pair_of(trial_of(), 32).discriminator
    pair = pair_of(trial_of(None, {"scales": scales, "pyramid": pyramid}), 32)
    fakes, scores = played(pair, 32)
    assert scores.shape == ((3,) if scales == 1 else (3, scales))
    features = pair.discriminator(Batch(fakes)).features
    assert [f.shape[-1] for f in features] == [16, 8, 4, 8, 4, 4][: (0, 3, 5, 6)[scales]]
    if scales > 1:
        numbers = [sum(p.numel() for p in net.parameters()) for net in pair.discriminator.scales]
        assert numbers[0] == sum(p.numel() for p in one.parameters())


def test_scales_end_at_8_px() -> None:
    for size, scales in itertools.product((8, 16, 32, 64), (2, 3, 4)):
        trial = trial_of(None, {"scales": scales})
        if size >> scales - 1 >= 8:
            pair_of(trial, size)
            continue
        with pytest.raises(Misfit, match=rf"{scales} of {size}x{size} px end at") as refused:
            pair_of(trial, size)
        assert refused.value.problems[0].path == ("discriminator", "scales")
    points = trial_of(None, {"scales": 2}, architecture="mlp_gan")
    with pytest.raises(Misfit, match="scales are sizes of images"):
        build(points, (2,))


def test_scales_name_classes_and_are_told_of_them() -> None:
    trial = trial_of(None, {"scales": 2}, regularizers=["auxiliary_classifier"])
    pair = build(trial, (1, 16, 16), Known(classes=10)).networks["main"]
    output = pair.discriminator(Batch(torch.zeros(3, 1, 16, 16), torch.arange(3)))
    assert output.classes is not None
    assert output.classes.shape == (3, 10)


@pytest.mark.parametrize("constraint", [None, "weight_clipping"])
def test_slopes_that_are_learnt_are_left_alone(
    constraint: str | None,
) -> None:
    side = {"activation": "prelu", "optimizer": {"adamw": {"lr": 0.1, "weight_decay": 0.5}}}
    trial = trial_of(None, {**side, "constraint": constraint})
    pair = pair_of(trial, 8)
    slopes: list[Any] = [m.weight for m in pair.discriminator.modules() if isinstance(m, nn.PReLU)]
    if constraint is None:
        made = optimizer(trial.discriminator.optimizer, {"main": pair}, "discriminator")
        for parameter in pair.discriminator.parameters():
            parameter.grad = torch.zeros_like(parameter)
        made.step()
    else:
        assert trial.discriminator.constraint is not None
        trial.discriminator.constraint.make()(pair.discriminator)
    assert slopes
    for slope in slopes:
        assert float(slope.detach().min()) == 0.25
