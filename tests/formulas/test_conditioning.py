"""What tells networks more than their input: its closed forms, and what it is in a trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.catalog.aliases import ALIASES
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Context, Known, Pair, Player
from sweeper.trial.loop import Training
from sweeper.trial.networks import build
from sweeper.trial.step import play_round
from sweeper.verify import conditioning
from sweeper.verify.claims import Check
from sweeper.verify.contracts import bases
from tests.formulas.claimed import claimed_in

Tiny = Callable[..., dict[str, Any]]
Tree = dict[str, Any]

OWN = claimed_in(conditioning)
KNOWN = Known(classes=10, source=1, reference=1, mask=1)


@pytest.mark.parametrize("check", OWN, ids=lambda check: check.__name__)
def test_its_closed_forms(check: Check) -> None:
    for claim in check():
        assert claim.ok, claim


def told(tiny: Tiny, generator: Any = None, discriminator: Any = None, **changes: Any) -> Trial:
    tree = tiny(**changes)
    tree["generator"] |= {"conditioning": generator or []}
    tree["discriminator"] |= {"conditioning": discriminator or []}
    return Trial.read(tree)


def networks(trial: Trial) -> Pair:
    return build(trial, (1, 8, 8), KNOWN).networks["main"]


def first(network: torch.nn.Module) -> int:
    """How many channels a network is given."""
    weight = next(p for name, p in network.named_parameters() if "first" in name)
    return weight.shape[0 if "Generator" in type(network).__name__ else 1]


@pytest.mark.parametrize("named", ["class_embedding_concat", "projection"])
def test_a_g_before_a_d_that_heeds_classes_is_told_them(named: str, tiny: Tiny) -> None:
    assert first(networks(told(tiny)).generator) == 8
    assert first(networks(told(tiny, discriminator=[named])).generator) == 18
    embedded = told(tiny, {"class_embedding_concat": {"size": 4}}, [named])
    assert first(networks(embedded).generator) == 12


def test_d_has_as_many_channels_as_it_is_shown(tiny: Tiny) -> None:
    for names, channels in (
        ([], 1),
        (["class_embedding_concat"], 2),
        (["image_condition_concat"], 2),
        (["image_condition_concat", "class_embedding_concat", "projection"], 3),
    ):
        d = networks(told(tiny, discriminator=names)).discriminator
        assert first(d) == channels
        batch = Batch(torch.randn(3, 1, 8, 8), torch.arange(3), torch.randn(3, 1, 8, 8))
        assert d(batch).scores.shape == (3,)


def test_points_have_classes_too(tiny: Tiny, cache: Path) -> None:
    points = {"data": {"ring": {"length": 200}}, "architecture": {"mlp_gan": {"hidden": 8}}}
    both = ["class_embedding_concat"]
    trial = told(tiny, both, [*both, "projection"], **points)
    training = Training(trial, cache)
    assert training.gan.of(Player.D)[0].get_submodule("network.hidden.0.linear").in_features == 18
    losses = play_round(training.gan, training.draw, training.progress, {})
    assert all(value.isfinite() for value in losses.values())


def test_another_class_is_another_image_and_another_score(tiny: Tiny) -> None:
    pair = networks(told(tiny, ["class_embedding_concat"], ["projection"]))
    z = torch.randn(2, 8).expand(2, -1)[:1].expand(2, -1)
    x = pair.generator.eval()(z, Context(torch.tensor([0, 1])))
    assert not torch.equal(x[0], x[1])
    same = x[:1].expand(2, -1, -1, -1)
    scores = pair.discriminator(Batch(same, torch.tensor([0, 1]))).scores
    assert scores[0] != scores[1]


def test_swapped_sources_are_seen(cache: Path) -> None:
    images = bases(cache)[2]
    images["discriminator"]["conditioning"] = ["image_condition_concat"]
    training = Training(Trial.read(images), cache)
    d, batch = training.gan.of(Player.D)[0], training.draw(4)
    assert batch.source is not None
    swapped = Batch(batch.image, batch.label, batch.source.flip(0), batch.mask, batch.style)
    assert not torch.allclose(d(batch).scores, d(swapped).scores)


@pytest.mark.parametrize(("side", "name", "why"), [
    ("generator", "projection", "is a technique of the discriminator"),
    ("generator", "image_condition_concat", "is a technique of the discriminator"),
    ("discriminator", "one_hot_concat", "is a technique of the generator"),
    ("discriminator", {"class_embedding_concat": {"size": 5}}, "a square number, but got 5"),
    ("discriminator", {"image_condition_concat": {"source": False}}, "at least one of source"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(side: str, name: Any, why: str, tiny: Tiny) -> None:
    with pytest.raises(Misfit, match=why):
        networks(told(tiny, **{side: name if isinstance(name, dict) else [name]}))


@pytest.mark.parametrize("name", ["class_embedding_concat", "projection", "image_condition_concat"])
def test_a_d_that_is_told_sees_no_packs(name: str, tiny: Tiny) -> None:
    with pytest.raises(Misfit, match=f"{name} does not go with packing"):
        told(tiny, discriminator=[name], tricks={"packing": {"m": 2}})
    if name == "class_embedding_concat":
        told(tiny, [name], tricks={"packing": {"m": 2}})


def test_what_the_data_lacks_is_told(tiny: Tiny) -> None:
    for name, why in (
        ("class_embedding_concat", "needs labels of two classes"),
        ("projection", "needs labels of two classes"),
        ("image_condition_concat", "needs images to start from"),
    ):
        with pytest.raises(Misfit, match=why):
            build(told(tiny, discriminator=[name]), (1, 8, 8), Known())
    masked = {"image_condition_concat": {"source": False, "mask": True}}
    build(told(tiny, discriminator=masked), (1, 8, 8), Known(mask=1))


def test_names_of_parameters_are_the_architectures_own(tiny: Tiny) -> None:
    trial = told(tiny, discriminator=["projection"])
    tree = trial.plain()
    tree["discriminator"] |= {"freeze": "first.*", "normalization": "virtual_batch_norm"}
    d = networks(Trial.read(tree)).discriminator
    frozen = [name for name, p in d.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(".first." in name for name in frozen)


def test_conditional_gan_is_known_by_its_name() -> None:
    assert "generator.conditioning" in ALIASES["conditional_gan"].paths
