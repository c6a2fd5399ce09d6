"""Losses that need a target, in trials: what they refuse, and what they do in a round."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import regularizers
from sweeper.catalog.regularizers.perception import Perceiving, Sight, named, pretrained
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Known, Player
from sweeper.trial.feed import Feed
from sweeper.trial.loop import Training, train
from sweeper.trial.networks import probe
from sweeper.trial.round import Round
from sweeper.trial.start import lines
from sweeper.verify.claims import CHECKS
from sweeper.verify.contracts import ToldDigits
from sweeper.verify.targets import turn_of

Tree = dict[str, Any]
Tiny = Callable[..., Tree]

OURS = ["reconstruction_loss", "perceptual_loss", "style_loss", "identity_loss"]


@pytest.fixture
def told(cache: Path) -> Tree:
    """Digits of 16 px, each to be made of its negative."""
    return {"packed": {"path": str(pack(ToldDigits(), cache / "data").path)}}


def claims() -> list[Any]:
    found = {each: None for checks in CHECKS.values() for each in checks}
    return [each for each in found if each.__module__ == "sweeper.verify.targets"]


@pytest.mark.parametrize("each", claims(), ids=lambda each: each.__name__)
def test_what_is_claimed_holds(each: Any) -> None:
    assert [claim for claim in each() if not claim.ok] == []


@pytest.mark.parametrize("name", [*OURS, "feature_matching"])
@pytest.mark.parametrize("changes", [{}, {"batch": {"size": 8, "accumulate": 2}}], ids=str)
def test_it_trains(name: str, changes: Tree, tiny: Tiny, told: Tree, cache: Path) -> None:
    knobs: Tree = {"form": "layer_l1"} if name == "feature_matching" else {}
    trial = Trial.read(tiny(data=told, regularizers={name: knobs}, **changes))
    training = Training(trial, cache)
    for _ in range(2):
        seen = training.round()
        assert all(value.isfinite() for value in seen.values())
    assert float(seen[f"generator.{name}"]) > 0


@pytest.mark.parametrize("name", ["reconstruction_loss", "perceptual_loss", "style_loss"])
def test_there_is_no_target_without_pairs(name: str, tiny: Tiny) -> None:
    trial = Trial.read(tiny(regularizers=[name]))
    with pytest.raises(Misfit, match=f"{name} needs pairs of an image and what it is to be made"):
        probe(trial, (1, 8, 8), Known(10))
    with pytest.raises(Misfit, match=f"{name} needs pairs"):
        probe(trial, (1, 8, 8), Known(source=1))
    probe(trial, (1, 8, 8), Known(source=1, paired=1))
    with pytest.raises(Misfit, match=f"{name} does not go with two_domain: .* by chance"):
        Trial.read(tiny(regularizers=[name], data={"two_domain": {"path": "x"}}))


def test_a_style_may_be_that_of_a_reference(tiny: Tiny) -> None:
    trial = Trial.read(tiny(regularizers={"style_loss": {"of": "reference"}}))
    with pytest.raises(Misfit, match="style_loss needs images of a style"):
        probe(trial, (1, 8, 8), Known(source=1, paired=1))
    probe(trial, (1, 8, 8), Known(source=1, reference=1))


def test_what_is_inside_a_mask_needs_one(tiny: Tiny) -> None:
    trial = Trial.read(tiny(regularizers={"reconstruction_loss": {"inside": 6}}))
    with pytest.raises(Misfit, match="reconstruction_loss needs masks"):
        probe(trial, (1, 8, 8), Known(source=1, paired=1))
    probe(trial, (1, 8, 8), Known(source=1, mask=1, paired=1))


def test_a_way_back_needs_a_second_generator(tiny: Tiny) -> None:
    with pytest.raises(Misfit, match="cycle_consistency_loss needs both ways"):
        Trial.read(tiny(regularizers=["cycle_consistency_loss"]))


def test_an_image_stays_itself_only_where_sources_are_like_it() -> None:
    batch = Batch(torch.zeros(2, 3, 8, 8), source=torch.zeros(2, 1, 8, 8))
    made = regularizers["identity_loss"].make()
    with pytest.raises(
        ValueError, match=r"of shape \(1, 8, 8\), but images are of shape \(3, 8, 8\)"
    ):
        made.setup({}, batch)


def test_the_features_of_the_score_are_warned_of(tiny: Tiny) -> None:
    look = {"perceptual_loss": {"network": "classifier"}}
    judged = tiny()["evaluation"] | {"features": "classifier"}
    told = [str(p) for p in Trial.read(tiny(regularizers=look, evaluation=judged)).warnings()]
    assert any("trained on the features that they are judged in" in line for line in told)
    assert not Trial.read(tiny(regularizers=look)).warnings()


@pytest.mark.parametrize("tricks", [{}, {"image_pool": {"size": 10}}], ids=str)
def test_fakes_of_a_pool_are_never_compared(
    tricks: Tree, tiny: Tiny, told: Tree, cache: Path
) -> None:
    trial = Trial.read(tiny(data=told, regularizers=["reconstruction_loss"], tricks=tricks))
    training = Training(trial, cache)
    for _ in range(4):
        training.round()
    gan = training.gan
    this = Round(gan, training.draw, training.progress, gan.moves(training.progress, {}))
    turn = this.turn(Player.G, "main")
    own = gan.networks["main"].generator(turn.latents, turn.real.context)
    assert torch.equal(turn.fake.image, own)
    paid = gan.terms[0](turn)
    torch.testing.assert_close(paid, 100 * (own - turn.real.image).abs().mean())


@pytest.mark.parametrize("pixel_range", ["tanh", "unit", "standardize"])
def test_a_network_is_shown_images_in_its_own_range(
    pixel_range: str, tiny: Tiny, told: Tree, cache: Path
) -> None:
    feed = {"pixel_range": pixel_range}
    trial = Trial.read(tiny(data=told, feed=feed, regularizers=["perceptual_loss"]))
    training = Training(trial, cache)
    loss = training.gan.terms[0].formula
    assert isinstance(loss, Perceiving)
    images = training.draw(8).image
    plain = trial.model_copy(update={"feed": trial.feed.model_copy(update={"pixel_range": "tanh"})})
    wanted = Feed(training.store, plain.feed, plain.seed, training.device).draw(8).image
    torch.testing.assert_close(loss.perception.seen(images), wanted, rtol=0, atol=1e-5)


def test_it_looks_through_the_classifier_of_the_data(tiny: Tiny, told: Tree, cache: Path) -> None:
    look = {"perceptual_loss": {"network": "classifier"}}
    trial = Trial.read(tiny(data=told, regularizers=look))
    training = Training(trial, cache)
    training.round()
    (kept,) = (cache / "features").glob("classifier-told_digits-*.pt")
    weights = torch.load(kept, weights_only=True)
    first = training.gan.terms[0].formula.perception.stack[0][1]  # type: ignore[attr-defined]
    assert torch.equal(first.weight, weights["body.0.weight"])
    assert not any("perceptual" in name for name in training.gan.tricks.state_dict())


def test_a_network_of_torchvisions_comes_with_its_weights(
    tiny: Tiny, told: Tree, cache: Path, tmp_path: Path
) -> None:
    def trial(**knobs: Any) -> Trial:
        return Trial.read(tiny(data=told, regularizers={"perceptual_loss": knobs}))

    shape, known = (1, 16, 16), Known(source=1, paired=1)
    with pytest.raises(Misfit, match=r"vgg16 needs the file of its weights, .* is not given"):
        probe(trial(network="vgg16"), shape, known)
    with pytest.raises(Misfit, match=r"needs the file .* but weights is there\.pt"):
        probe(trial(network="vgg16", weights="there.pt"), shape, known)
    with pytest.raises(Misfit, match="of a network of torchvision, not random_conv's"):
        probe(trial(weights="there.pt"), shape, known)

    from torchvision.models import squeezenet1_1

    file = tmp_path / "squeezenet.pt"
    torch.manual_seed(0)
    network = squeezenet1_1().eval()
    torch.save(network.state_dict(), file)
    made = trial(network="squeezenet1_1", weights=str(file), layers={"relu2_1": 0.5})
    folder = tmp_path / "trial"
    folder.mkdir()
    measured = list(train(made, cache, folder))
    assert all(m.losses["generator.perceptual_loss"] > 0 for m in measured)
    report = json.loads((folder / "start.json").read_text())
    assert lines(report) == [
        f"perceptual_loss looks through squeezenet1_1, weights {report['perceptual_loss']['hash']}"
    ]
    grey = torch.rand(2, 1, 16, 16) * 2 - 1
    loss = regularizers["perceptual_loss"].make(
        Sight(lambda x: x, lambda: pytest.fail("it is not asked for")),
        network="squeezenet1_1",
        weights=str(file),
        layers={"relu2_1": 0.5},
    )
    loss.setup({}, Batch(grey))
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])

    def seen(x: Tensor) -> Tensor:
        x = ((x + 1) / 2 - mean[None, :, None, None]) / deviation[None, :, None, None]
        return network.features[:4](x)

    with torch.no_grad():
        paid = loss(turn_of(Batch(grey), -grey))
        wanted = 0.5 * (seen(grey) - seen(-grey)).abs().mean()
    torch.testing.assert_close(paid, wanted)
    with pytest.raises(
        ValueError, match=r"weights are those of torchvision's resnet18, but .* holds"
    ):
        pretrained("resnet18", file.read_bytes(), "file")


def test_layers_have_the_names_that_papers_give_them() -> None:
    from torchvision import models

    with torch.device("meta"):
        vgg = [name for name, _ in named(models.vgg19().features)]
        alexnet = [name for name, _ in named(models.alexnet().features)]
    assert [name for name in vgg if name.startswith("relu")] == [
        *("relu1_1", "relu1_2", "relu2_1", "relu2_2"),
        *(f"relu{block}_{k}" for block in (3, 4, 5) for k in (1, 2, 3, 4)),
    ]
    assert [n for n in alexnet if n.startswith("relu")] == [
        *("relu1_1", "relu2_1", "relu3_1", "relu3_2", "relu3_3")
    ]


def test_layers_that_there_are_not_are_told_with_those_that_there_are(
    tiny: Tiny,
) -> None:
    look = {"perceptual_loss": {"layers": {"relu9_1": 1}}}
    with pytest.raises(Misfit, match=r"layers of random_conv are .*relu1_3.*, but got relu9_1"):
        probe(Trial.read(tiny(regularizers=look)), (1, 8, 8), Known(source=1, paired=1))


def test_the_adversarial_term_is_a_share_of_all_content(
    tiny: Tiny, told: Tree, cache: Path
) -> None:
    content = ["reconstruction_loss", "perceptual_loss"]
    weigh = {"adversarial_loss_weight": {"automatic": True, "weight": 0.25}}
    training = Training(Trial.read(tiny(data=told, regularizers=content, tricks=weigh)), cache)
    seen = training.round()
    paid = sum(seen[f"generator.{name}"] for name in content)
    torch.testing.assert_close(seen["generator.adversarial"], 0.25 * paid)
