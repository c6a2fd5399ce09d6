"""Networks from images to images: what each number of theirs looks at, and what reaches what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.config import Trial
from sweeper.game import Batch, Context, Known, Player, Progress, Silent, Streams
from sweeper.trial.networks import Built, build
from sweeper.verify.claims import Claim, check

N, SIDE, LATENT = 2, 16, 4
KNOWN = Known(classes=0, source=1, reference=1, mask=0, paired=1)


def built(name: str, knobs: dict[str, Any], side: int = SIDE, **changes: Any) -> Built:
    """An architecture's networks for grey images with sources and styles, without normalization."""
    plain = {"normalization": "none", "optimizer": "adam", "initialization": "he_normal"}
    tree = {
        "data": "digits",
        "architecture": {name: {"channels": 4, **knobs}},
        "prior": {"gaussian_latent": {"size": LATENT}},
        "generator": plain,
        "discriminator": plain,
        "loss": "non_saturating",
        "schedule": "alternating_update",
        "horizon_kimg": 0.1,
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(Trial.read(tree), (1, side, side), KNOWN)


def told(side: int = SIDE) -> Batch:
    random = torch.Generator().manual_seed(1)
    image, source, style = torch.rand(3, N, 1, side, side, generator=random) * 2 - 1
    return Batch(image, source=source, style=style)


def made(generator: nn.Module, context: Context) -> Tensor:
    image: Tensor = generator(torch.zeros(N, LATENT), context)
    return image


def apart(a: Tensor, b: Tensor) -> float:
    """The most by which two images differ."""
    return float((a - b).detach().abs().max())


def size_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def reach(discriminator: nn.Module, side: int) -> tuple[int, int]:
    """How many patches there are, and the side of the square that the middle one looks at."""
    image = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(2))
    scores = discriminator(Batch(image.requires_grad_())).scores
    (slope,) = torch.autograd.grad(
        scores[0, scores.shape[1] // 2 + int(scores.shape[1] ** 0.5) // 2], image
    )
    rows = (slope[0, 0].abs().sum(1) > 0).nonzero()
    return scores.shape[1], int(rows.max() - rows.min()) + 1


@check("pix2pix")
def of_pix2pix() -> Iterator[Claim]:
    for patch, side, patches in ((16, 64, 30 * 30), (34, 64, 14 * 14), (70, 256, 30 * 30)):
        discriminator = built("pix2pix", {"patch": patch}, side).networks["main"].discriminator
        count, wide = reach(discriminator, side)
        yield Claim(f"scores of a {side} px image with a patch of {patch} px", count, patches, 0)
        yield Claim(f"pixels across that one score of {patch} px looks at", wide, patch, 0)
    context = told().context
    plain = built("pix2pix", {"dropout": 0.0}).generator
    severed = built("pix2pix", {"dropout": 0.0, "skip": False}).generator
    yield Claim(
        "a U-Net has more weights than the same without shortcuts",
        float(size_of(plain) > size_of(severed)),
        1,
    )
    noisy = built("pix2pix", {}).generator.eval()
    same = apart(made(plain.eval(), context), made(plain, context))
    other = apart(made(noisy, context), made(noisy, context))
    yield Claim("two passes of one source differ without dropout", same, 0)
    yield Claim("two passes differ with it, in evaluation, too", float(other > 0), 1)
    for latents, expected in ((False, 0), (True, 1)):
        generator = built("pix2pix", {"dropout": 0.0, "latents": latents}).generator
        moved = apart(generator(torch.ones(N, LATENT), context), made(generator, context))
        what = f"another latent is another image (latents: {str(latents).lower()})"
        yield Claim(what, float(moved > 0), expected)


@check("cyclegan")
def of_cyclegan() -> Iterator[Claim]:
    there = built("cyclegan", {"n_res_blocks": 2})
    sizes = [size_of(pair.of(p)) for pair in there.networks.values() for p in Player]
    yield Claim("weights of G there less those of G back", sizes[1] - sizes[3], 0)
    real = told()
    back = there.architecture.view("back", real, lambda pair: real.image, at(0))
    assert back.source is not None
    assert real.source is not None
    turned = apart(back.source, real.image) + apart(back.image, real.source)
    yield Claim("the way back is given what the way there makes", turned, 0)
    deeper = built("cyclegan", {"n_res_blocks": 3})
    block = size_of(deeper.generator) - size_of(there.generator)
    yield Claim("weights of a residual block of 16 channels", block, 2 * (9 * 16 * 16 + 16))


@check("w_net")
def of_w_net() -> Iterator[Claim]:
    real, generator = told(), built("w_net", {}).generator
    again = Batch(real.image, source=real.source, style=-real.image)
    moved = apart(made(generator, again.context), made(generator, real.context))
    yield Claim("another style alone is another image", float(moved > 0), 1)
    context = real.context
    assert context.source is not None
    assert context.reference is not None
    images = [context.source.requires_grad_(), context.reference.requires_grad_()]
    slopes = torch.autograd.grad(made(generator, context).sum(), images)
    for name, slope in zip(("content", "style"), slopes, strict=True):
        yield Claim(f"the {name} reaches the image", float(slope.abs().sum() > 0), 1)
    severed = built("w_net", {"skip": False}).generator
    fewer = size_of(generator) - size_of(severed)
    shortcuts = sum(9 * 2 * a * a for a in (4, 8, 16, 32))
    yield Claim("weights that read the shortcuts of both encoders", fewer, shortcuts)


def at(images: int) -> Progress:
    return Progress(Streams(0), horizon=100, images=images)


@check("stacked_gan")
def of_stacked_gan() -> Iterator[Claim]:
    for training, flows in (("joint", 1), ("sequential", 0)):
        stacked = built("stacked_gan", {"training": training, "share": 0.5})
        small = stacked.networks["small"].generator
        slopes = second_stage(stacked, at(60), "small", small)
        yield Claim(f"the second stage's gradient reaches the first ({training})", slopes, flows)
    playing = [stacked.architecture.playing(at(images)) for images in (0, 49, 50)]
    yield Claim("the first stage trains alone before the half", float(playing[1] == {"small"}), 1)
    yield Claim("the second stage trains alone after it", float(playing[2] == {"main"}), 1)
    context = told().context
    whole = made(stacked.generator, context)
    real = stacked.architecture.view("small", told(), lambda pair: whole, at(0))
    low = made(small, real.context)
    given = stacked.architecture.view("main", told(), lambda pair: low, at(0))
    composed = made(stacked.networks["main"].generator, given.context)
    yield Claim(
        "what is judged less the second stage of the first",
        apart(whole, composed),
        0,
    )


def second_stage(stages: Built, progress: Progress, first: str, network: nn.Module) -> float:
    """Whether what the second stage makes has a gradient to the weights of the first, where the
    step has the first one's fakes attached to it only if it plays."""
    real, architecture = told(), stages.architecture
    playing = architecture.playing(progress)
    seen = architecture.view(first, real, lambda pair: real.image, progress)
    image = made(network, seen.context)
    image = image if playing is None or first in playing else image.detach()
    given = architecture.view("main", real, lambda pair: image, progress)
    fine = made(stages.networks["main"].generator, given.context)
    slopes = torch.autograd.grad(fine.sum(), [*network.parameters()], allow_unused=True)
    return float(any(slope is not None and bool(slope.abs().sum() > 0) for slope in slopes))


@check("coarse_to_fine")
def of_coarse_to_fine() -> Iterator[Claim]:
    for detach, flows in ((True, 0), (False, 1)):
        knobs = {"detach": detach, "warmup": 0.3}
        stages = built("coarse_to_fine", knobs, regularizers="reconstruction_loss")
        coarse = stages.networks["coarse"]
        reached = second_stage(stages, at(60), "coarse", coarse.generator)
        what = f"what refines reaches the coarse network (detach: {str(detach).lower()})"
        yield Claim(what, reached, flows)
    yield Claim(
        "the coarse network's D says nothing", float(isinstance(coarse.discriminator, Silent)), 1
    )
    playing = stages.architecture.playing(at(29)), stages.architecture.playing(at(30))
    yield Claim(
        "the coarse network trains alone while it warms up", float(playing[0] == {"coarse"}), 1
    )
    yield Claim("and with the other after", float(playing[1] is None), 1)
