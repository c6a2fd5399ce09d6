"""Networks from images to images: shapes, what is refused, and whose layers they take."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Context, Known, Player
from sweeper.trial.networks import build
from sweeper.verify import translation
from sweeper.verify.contracts import tiny
from sweeper.verify.translation import SIDE, built, made, told

ARCHITECTURES = ["pix2pix", "cyclegan", "w_net", "stacked_gan", "coarse_to_fine"]
TARGET = {"coarse_to_fine": {"regularizers": "reconstruction_loss"}}
EVERYTHING = Known(classes=2, source=1, reference=1, mask=1, paired=1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_claims(name: str) -> None:
    for claim in getattr(translation, f"of_{name}")():
        assert claim.ok, claim


@pytest.mark.parametrize("side", [8, 16, 24, 32])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_makes_images_of_the_size_of_the_source(name: str, side: int) -> None:
    if (name, side) == ("stacked_gan", 8):
        with pytest.raises(Misfit, match="patches are of images of 8 px and more, but got 4x4"):
            built(name, {}, side)
        return
    there = built(name, {}, side, **TARGET.get(name, {}))
    image = made(there.generator, told(side).context)
    assert image.shape == (2, 1, side, side)
    assert image.abs().max() <= 1
    scores = there.networks["main"].discriminator(Batch(image)).scores
    assert scores.shape == (2, math.isqrt(scores.shape[1]) ** 2)


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan", "w_net"])
def test_sides_that_are_no_multiples_of_4_are_refused(name: str) -> None:
    with pytest.raises(Misfit, match=f"{name} takes images whose sides are multiples of 4"):
        built(name, {}, 18)


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan", "w_net"])
def test_images_are_made_from_others(name: str) -> None:
    trial = Trial.read(tiny(architecture={name: {"channels": 4}}))
    with pytest.raises(Misfit, match="the data has n"):
        build(trial, (1, SIDE, SIDE), Known(reference=1))


def test_the_first_stage_makes_images_of_latents_where_there_is_nothing_else() -> None:
    trial = Trial.read(tiny(architecture={"stacked_gan": {"channels": 4}}))
    stacked = build(trial, (1, SIDE, SIDE))
    small = stacked.networks["small"].generator(torch.zeros(2, 8), Context())
    assert small.shape == (2, 1, SIDE // 2, SIDE // 2)
    assert stacked.generator(torch.zeros(2, 8), Context()).shape == (2, 1, SIDE, SIDE)


def test_d_sees_what_the_image_was_made_from() -> None:
    plain = {"normalization": "none", "optimizer": "adam"}
    told_too = plain | {"conditioning": "image_condition_concat"}
    discriminators = [
        built("pix2pix", {}, discriminator=side).networks["main"].discriminator
        for side in (plain, told_too)
    ]
    real = told()
    fewer, more = (sum(p.numel() for p in d.parameters()) for d in discriminators)
    assert more - fewer == 4 * 16, "one channel more for the first layer"
    other = Batch(real.image, source=-real.source)
    for d, differs in zip(discriminators, (False, True), strict=True):
        assert torch.equal(d(real).scores, d(other).scores) != differs


@pytest.mark.parametrize("convolution", [None, "gated_conv", "partial_conv", "acnet_block"])
@pytest.mark.parametrize("normalization", ["spade", "region_norm", "adaptive_instance_norm"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_takes_layers_that_are_told_of_masks_and_styles(
    name: str, normalization: str, convolution: str | None
) -> None:
    side: dict[str, Any] = {"optimizer": "adam", "normalization": normalization}
    tree = tiny(
        architecture={name: {"channels": 4}},
        generator=side | {"convolution": convolution, "upsampling": "pixel_shuffle"},
        **TARGET.get(name, {}),
    )
    real = told()
    mask = (real.image > 0).float()
    context = Batch(real.image, source=real.source, style=real.style, mask=mask).context
    there = build(Trial.read(tree), (1, SIDE, SIDE), EVERYTHING)
    image = there.generator(torch.randn(2, 8), context)
    image.square().sum().backward()
    assert image.isfinite().all()
    assert all(
        p.grad is None or p.grad.isfinite().all()
        for pair in there.networks.values()
        for p in pair.of(Player.G).parameters()
    )
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in there.networks["main"].generator.parameters()
    )
