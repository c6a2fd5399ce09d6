"""What tells networks more than their input, against its formulas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from sweeper.catalog.conditioning.conditioning import (
    Conditioning,
    TellingDiscriminator,
    TellingGenerator,
)
from sweeper.catalog.families import conditioning
from sweeper.game import Batch, Context, Known, Layers, Output, Player
from sweeper.verify.claims import Claim, check
from sweeper.verify.toys import examples, gap

LABELS = torch.tensor([2, 0, 1, 2])
OFFERED = {
    "known": Known(classes=3, source=2, reference=1, mask=3),
    "shape": (1, 8, 8),
    "layers": Layers(),
    "width": 5,
}


class Seen(nn.Module):
    """A D that scores 0, and has what it saw for features."""

    def forward(self, batch: Batch) -> Output:
        return Output(batch.image.new_zeros(len(batch)), (batch.image,))


class Given(nn.Module):
    """A G that makes what it is given."""

    def forward(self, z: Tensor, context: Context) -> Tensor:
        return z


def made(name: str, player: Player = Player.D, **knobs: Any) -> Conditioning:
    """A way to tell a player, in double precision."""
    entry = conditioning[name]
    offered = {**OFFERED, "player": player}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found: Conditioning = entry.make(*[offered[asked] for asked in entry.asks], **knobs)
    return found.double()


def batch() -> Batch:
    """Four examples, of which everything is known."""
    return Batch(
        examples(4, 1, 8, 8),
        LABELS,
        examples(4, 2, 8, 8, seed=1),
        examples(4, 3, 8, 8, seed=2),
        examples(4, 1, 8, 8, seed=3),
    )


def given(told: Conditioning) -> Tensor:
    z: Tensor = TellingGenerator(Given(), [told])(examples(4, 6), batch().context)
    return z


def seen(told: Conditioning) -> Tensor:
    output: Output = TellingDiscriminator(Seen(), [told])(batch())
    return output.features[0]


@check("one_hot_concat")
def ones_beside_latents() -> Iterator[Claim]:
    expected = torch.cat([examples(4, 6), one_hot(LABELS, 3)], 1)
    off = gap(given(made("one_hot_concat", Player.G)), expected)
    yield Claim("G is given (z, one-hot), off by", off, 0, 0)


@check("class_embedding_concat")
def vectors_of_classes() -> Iterator[Claim]:
    name = "class_embedding_concat"
    told = made(name, Player.G, size=4)
    rows = told.get_parameter("table.weight").detach()[LABELS]
    off = gap(given(told), torch.cat([examples(4, 6), rows], 1))
    yield Claim("G is given (z, e), off by", off, 0, 0)
    told = made(name, size=4)
    shown = seen(told)
    yield Claim("channels that D sees, of 1", float(shown.shape[1]), 2)
    yield Claim("of which the first are the image, off by", gap(shown[:, :1], batch().image), 0, 0)
    corners = shown[:, 1, ::7, ::7].flatten(1)
    rows = told.get_parameter("table.weight").detach()[LABELS]
    yield Claim("corners of the map are those of e, off by", gap(corners, rows), 0)
    maps = shown[:, 1]
    yield Claim("another class has another map", float(gap(maps[0], maps[1]) > 0.1), 1)
    yield Claim("the same class has the same, off by", gap(maps[0], maps[3]), 0, 0)
    short = made(name, Player.G, size=16, max_norm=1.0)
    e = given(short)[:, 6:].detach()
    yield Claim("largest length with a max_norm of 1", e.norm(dim=1).max().item(), 1)
    rows = short.get_parameter("table.weight").detach()[LABELS]
    off = gap(e, rows / rows.norm(dim=1, keepdim=True))
    yield Claim("directions stay, off by", off, 0)


@check("projection")
def products_with_classes() -> Iterator[Claim]:
    told = made("projection")
    e = told.get_parameter("table.weight").detach()[LABELS]
    maps, scores = examples(4, 5, 3, 3), examples(4, seed=7)
    expected = scores + (e[:, :, None, None] * maps).sum((1, 2, 3))
    off = gap(told.scores(Output(scores, (maps,)), batch()), expected)
    yield Claim("score + e · Σ φ, off by", off, 0)
    flat = maps[:, :, 0, 0]
    off = gap(told.scores(Output(scores, (flat,)), batch()), scores + (e * flat).sum(1))
    yield Claim("of activations without space, off by", off, 0)
    patches = examples(4, 9, seed=8)
    off = gap(told.scores(Output(patches, (flat,)), batch()) - patches, (e * flat).sum(1)[:, None])
    yield Claim("the same beside each score of a patch, off by", off, 0)


@check("image_condition_concat")
def images_beside_images() -> Iterator[Claim]:
    x, name = batch(), "image_condition_concat"
    parts = {"source": x.source, "mask": x.mask, "reference": x.style}
    chosen = [("source",), ("mask",), ("source", "mask", "reference")]
    for shown in chosen:
        on: dict[str, Any] = {k: k in shown for k in parts}
        told = made(name, **on)
        expected = torch.cat([x.image, *(cast(Tensor, parts[k]) for k in shown)], 1)
        what = ", ".join(("image", *shown))
        yield Claim(f"D sees ({what}), off by", gap(seen(told), expected), 0, 0)
        yield Claim(f"({what}): channels", float(1 + told.channels), float(expected.shape[1]), 0)
