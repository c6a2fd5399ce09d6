"""What is added to G's loss beside the adversarial term, under the product's own step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.conditioning.conditioning import TellingGenerator
from sweeper.catalog.conditioning.one_hot_concat import OneHotConcat
from sweeper.catalog.datasets.store import pack
from sweeper.config import Misfit, Trial
from sweeper.game import Context, Known
from sweeper.ledger.ledger import Record
from sweeper.sweep.generate import made
from sweeper.sweep.trained import Trained
from sweeper.trial.loop import Training
from sweeper.trial.networks import build, probe
from sweeper.trial.samples import labels_like
from sweeper.trial.step import play_round
from tests.trial.test_store import Unlabelled

Tree = dict[str, Any]
Tiny = Callable[..., Tree]
EACH = ("feature_matching", "auxiliary_classifier", "total_variation_loss")


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize(
    "changes",
    [
        {"batch": {"size": 8, "mixed": True}},
        {"batch": {"size": 8, "accumulate": 2}},
        {"precision": "bfloat16"},
        {"loss": "relativistic_average"},
        {"architecture": {"mlp_gan": {"hidden": 8}}},
    ],
    ids=lambda changes: next(iter(changes.values())),
)
def test_trains_with(name: str, changes: Tree, tiny: Tiny, cache: Path) -> None:
    training = Training(Trial.read(tiny(regularizers=[name], **changes)), cache)
    for _ in range(2):
        seen = play_round(training.gan, training.draw, training.progress, {})
        assert all(value.isfinite() for value in seen.values())
        assert f"generator.{name}" in seen


def terms(tree: Tree, cache: Path, rounds: int) -> list[set[str]]:
    """The terms that G pays, round by round."""
    training = Training(Trial.read(tree), cache)
    played = [play_round(training.gan, training.draw, training.progress, {}) for _ in range(rounds)]
    return [{n.partition(".")[2] for n in seen if n.startswith("generator.")} for seen in played]


def test_feature_matching_replaces_the_adversarial_term_when_it_is_due(
    tiny: Tiny, cache: Path
) -> None:
    matching = {"mode": "replace", "every": 2}
    found = terms(tiny(regularizers={"feature_matching": matching}), cache, 3)
    assert found == [{"feature_matching"}, {"adversarial"}, {"feature_matching"}]


def test_feature_matching_has_the_layers_that_d_has(tiny: Tiny) -> None:
    trial = Trial.read(tiny(regularizers={"feature_matching": {"layer": 1}}))
    probe(trial, (1, 16, 16))
    with pytest.raises(Misfit, match="last hidden layer of D, which has 1, but got 1"):
        probe(trial, (1, 8, 8))


def test_feature_matching_by_layers_needs_pairs(tiny: Tiny) -> None:
    trial = Trial.read(tiny(regularizers={"feature_matching": {"form": "layer_l1"}}))
    with pytest.raises(Misfit, match="feature_matching needs pairs of an image and what it is"):
        probe(trial, (1, 16, 16), Known(3))
    probe(trial, (1, 16, 16), Known(source=1, paired=1))


def test_total_variation_is_of_images(tiny: Tiny) -> None:
    points = {"data": "ring", "architecture": "mlp_gan"}
    with pytest.raises(Misfit, match="needs images"):
        Trial.read(tiny(regularizers=["total_variation_loss"], **points))


def test_a_classifier_needs_labels(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    store = pack(Unlabelled((1, 8, 8)), tmp_path)
    data = {"packed": {"path": str(store.path)}}
    trial = Trial.read(tiny(data=data, regularizers=["auxiliary_classifier"]))
    with pytest.raises(Misfit, match="auxiliary_classifier needs labels of two classes or more"):
        Training(trial, cache)


def test_a_classifier_of_a_critic_is_warned_of(tiny: Tiny) -> None:
    tree = tiny(loss="wasserstein", regularizers=["auxiliary_classifier", "gradient_penalty"])
    (problem,) = Trial.read(tree).warnings()
    assert "auxiliary_classifier beside wasserstein" in problem.law


@pytest.mark.parametrize("architecture", ["dcgan", "mlp_gan"])
def test_only_a_classifier_makes_g_take_labels(architecture: str, tiny: Tiny) -> None:
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2] * 2)
    for regularizers, heeded in (([], False), (["auxiliary_classifier"], True)):
        trial = Trial.read(tiny(architecture=architecture, regularizers=regularizers))
        g = build(trial, (1, 8, 8), Known(3)).generator.eval()
        one, other = g(z, Context(labels)), g(z, Context(labels.flip(0)))
        assert torch.equal(one, other) is not heeded
        if heeded:
            with pytest.raises(ValueError, match="told a label for every example"):
                g(z, Context())


def test_a_label_is_told_as_a_one_hot_beside_the_latents() -> None:
    z = torch.randn(2, 3)
    expected = torch.cat([z, torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 0]])], 1)

    class Echo(nn.Module):
        def forward(self, z: Tensor, context: Context) -> Tensor:
            return z

    telling = TellingGenerator(Echo(), [OneHotConcat(Known(4))])
    assert torch.equal(telling(z, Context(torch.tensor([3, 0]))), expected)


def test_evaluation_tells_labels_as_frequent_as_in_the_data() -> None:
    labels = torch.tensor([0] * 90 + [2] * 10)
    before = torch.get_rng_state()
    drawn = labels_like(labels, 10_000, torch.Generator().manual_seed(0))
    assert drawn is not None
    assert torch.equal(torch.get_rng_state(), before)
    share = float((drawn == 2).float().mean())
    assert abs(share - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 10_000)
    assert not (drawn == 1).any()
    assert labels_like(None, 3, torch.Generator()) is None


def test_a_trained_g_of_classes_is_sampled_by_the_seed(tiny: Tiny, cache: Path) -> None:
    trial = Trial.read(tiny(regularizers=["auxiliary_classifier"]))
    training = Training(trial, cache)
    training.advance()
    generator, prior = training.gan.eval_generator(), training.gan.prior
    shown = [training.evaluator.sample(generator, prior, 700, "sheet") for _ in range(2)]
    assert torch.equal(*shown)
    record = Record(0, None, {}, trial.plain(), 0.0)
    found = Trained(record, trial, training.state_dict(), cache)
    first, same, other = (made(found, 4, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
