"""Several pairs of networks in one step: who learns from what, and who stays as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.config import Misfit, Trial
from sweeper.game import Player, Silent
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.trial.round import Round
from sweeper.trial.step import differentiate, play_round
from sweeper.verify.contracts import bases, differences, everything
from tests.trial.ranks import apart, end, pair

Tree = dict[str, Any]

DOMAINS = {"architecture": {"cyclegan": {"channels": 4, "n_res_blocks": 1}}, "tricks": "image_pool"}
STACKED = {"architecture": {"stacked_gan": {"channels": 4}}}
ONE_BY_ONE = {"stacked_gan": {"channels": 4, "training": "sequential", "share": 0.5}}
COARSE = {"coarse_to_fine": {"channels": 4}}
TARGET = {"regularizers": "reconstruction_loss"}


@pytest.fixture(scope="module")
def training(cache: Path) -> Callable[..., Training]:
    """Training on digits of 16 px with sources, masks and styles."""
    base = bases(cache)[2]
    return lambda **changes: Training(Trial.read(base | changes), cache)


def steps(training: Training, until: int) -> None:
    while training.progress.images < until:
        play_round(training.gan, training.draw, training.progress, {})


def state(training: Training, player: Player, name: str) -> list[Any]:
    return everything([training.gan.networks[name].of(player)])


def test_one_step_updates_all_four_networks(training) -> None:
    two = training(**DOMAINS, regularizers=["cycle_consistency_loss", "identity_loss"])
    assert list(two.gan.networks) == ["main", "back"]
    before = {(p, n): state(two, p, n) for p in Player for n in two.gan.networks}
    play_round(two.gan, two.draw, two.progress, {})
    for (player, name), was in before.items():
        assert list(differences(was, state(two, player, name))), (player, name)
    assert two.progress.moves == dict.fromkeys(Player, 1)


def test_one_optimizer_trains_both_generators(training) -> None:
    two = training(**DOMAINS).gan
    for player in Player:
        owned = {id(p) for group in two.optimizers[player].param_groups for p in group["params"]}
        assert owned == {
            id(p) for pair in two.networks.values() for p in pair.of(player).parameters()
        }


def test_each_discriminator_sees_fakes_of_its_own_pool(training) -> None:
    two = training(**DOMAINS)
    steps(two, 16)
    pool = two.gan.tricks.all["image_pool"]
    back = pool.others["back"]
    assert int(pool.seen) == int(back.seen) == 16
    assert not torch.equal(pool.image[:16], back.image[:16])
    # What one is given is what the other should make.
    real = Round(two.gan, two.draw, two.progress, []).view(Player.D, "back", 0, attached=False)
    other = Round(two.gan, two.draw, two.progress, []).view(Player.D, "main", 0, attached=False)
    assert real.image.shape == other.source.shape


def test_the_way_back_reaches_both_generators(training) -> None:
    two = training(**DOMAINS, regularizers="cycle_consistency_loss")
    this = Round(two.gan, two.draw, two.progress, [])
    turn = this.turn(Player.G, "main")
    two.gan.terms[0](turn).backward()
    for name in two.gan.networks:
        grads = [p.grad for p in two.gan.networks[name].generator.parameters()]
        assert all(g is not None and g.abs().sum() > 0 for g in grads if g is not None)
        assert any(g is not None for g in grads)


def test_the_first_stage_is_frozen_in_the_second(training) -> None:
    one = training(architecture=ONE_BY_ONE)
    second = [state(one, player, "main") for player in Player]
    steps(one, 24)
    assert list(differences(second, [state(one, player, "main") for player in Player])) == []
    first = weights(one, "small")
    steps(one, 48)
    assert all(map(torch.equal, first, weights(one, "small")))
    assert list(differences(second[1], state(one, Player.G, "main")))


def weights(training: Training, name: str) -> list[torch.Tensor]:
    """The weights and statistics of both networks of a pair."""
    pair = training.gan.networks[name]
    return [w.clone() for player in Player for w in pair.of(player).state_dict().values()]


def test_only_a_joint_training_gives_the_first_stage_the_gradient_of_the_second(training) -> None:
    for architecture, flows in ((STACKED["architecture"], True), (ONE_BY_ONE, False)):
        one = training(architecture=architecture)
        one.progress.images = 40
        this = Round(one.gan, one.draw, one.progress, [])
        fake = this.turn(Player.G, "main").scores.fake
        first = [*one.gan.networks["small"].generator.parameters()]
        found = torch.autograd.grad(fake.sum(), first, allow_unused=True)
        assert any(g is not None for g in found) == flows


def test_a_gradient_flows_back_through_fakes_that_d_was_shown_first(training) -> None:
    """One forward pass serves both players, and yet joins the stages for G."""
    one = training(**STACKED)
    calls = list[str]()
    for name in ("main", "small"):
        one.gan.networks[name].generator.register_forward_hook(
            lambda *_, name=name: calls.append(name)
        )
    this = Round(one.gan, one.draw, one.progress, one.gan.moves(one.progress, {}))
    shown = this.turn(Player.D, "main")
    assert not shown.fake.image.requires_grad
    assert shown.real.source is not None
    assert not shown.real.source.requires_grad
    fake = this.turn(Player.G, "main").scores.fake
    first = [*one.gan.networks["small"].generator.parameters()]
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(fake.sum(), first))
    assert sorted(calls) == ["main", "small"]


@pytest.mark.parametrize("detach", [True, False])
def test_the_coarse_network_is_judged_by_nobody(training, detach: bool) -> None:
    two = training(architecture={"coarse_to_fine": {"channels": 4, "detach": detach}}, **TARGET)
    assert isinstance(two.gan.networks["coarse"].discriminator, Silent)
    this = Round(two.gan, two.draw, two.progress, [])
    fake = this.turn(Player.G, "main").scores.fake
    coarse = [*two.gan.networks["coarse"].generator.parameters()]
    found = torch.autograd.grad(fake.sum(), coarse, allow_unused=True)
    assert any(g is not None for g in found) != detach
    before = state(two, Player.G, "coarse")
    play_round(two.gan, two.draw, two.progress, {})
    assert list(differences(before, state(two, Player.G, "coarse")))


def test_before_the_warmup_ends_only_the_coarse_network_changes(training) -> None:
    warm = {"coarse_to_fine": {"channels": 4, "warmup": 0.5}}
    two = training(architecture=warm, **TARGET)
    before = {p: state(two, p, "main") for p in Player}
    steps(two, 24)
    for player in Player:
        assert list(differences(before[player], state(two, player, "main"))) == []
    steps(two, 32)
    for player in Player:
        assert list(differences(before[player], state(two, player, "main")))


def test_the_loss_that_is_told_is_that_of_pairs_that_have_a_discriminator(training) -> None:
    two = training(architecture=COARSE, **TARGET)
    seen = play_round(two.gan, two.draw, two.progress, {})
    assert float(seen["discriminator.adversarial"]) == pytest.approx(1.386, abs=0.2)
    turn = Round(two.gan, two.draw, two.progress, []).turn(Player.G, "coarse")
    assert differentiate(two.gan, Player.G, Round(two.gan, two.draw, two.progress, []))
    assert float(turn.scores.fake.abs().sum()) == 0


def test_a_coarse_network_needs_a_target(training) -> None:
    with pytest.raises(Misfit, match="learns from nothing else"):
        training(architecture=COARSE)


@pytest.mark.parametrize(
    "changes",
    [DOMAINS, {"architecture": ONE_BY_ONE, "tricks": "ema"}, {"architecture": COARSE, **TARGET}],
    ids=["cyclegan", "stacked_gan", "coarse_to_fine"],
)
def test_continuing_is_the_same_as_never_having_stopped(training, changes: Tree, tmp_path) -> None:
    whole, first = training(**changes), training(**changes)
    measured = first.advance()
    Checkpoints(tmp_path).save(measured.images, first.state_dict())
    again = training(**changes)
    again.load_state_dict(Checkpoints(tmp_path).load())
    for each in (whole, again):
        while not each.finished:
            each.advance()
    assert list(differences(again.state_dict(), whole.state_dict())) == []


@pytest.mark.slow
def test_two_ranks_are_one(cache: Path, tmp_path: Path) -> None:
    sgd = {"normalization": "batch_norm", "optimizer": {"sgd": {"lr": 0.002}}}
    base = bases(cache)[2] | {"generator": sgd, "discriminator": sgd, "batch": {"size": 8}}
    trials = {
        "cyclegan": DOMAINS | {"regularizers": "cycle_consistency_loss"},
        "stacked_gan": STACKED,
        "coarse_to_fine": {"architecture": COARSE, **TARGET},
        "pix2pix": {"architecture": {"pix2pix": {"channels": 4, "patch": 16}}, **TARGET},
        "w_net": {"architecture": {"w_net": {"channels": 4}}},
    }
    plain = {name: Trial.read(base | tree).plain() for name, tree in trials.items()}
    pair(plain, cache, tmp_path, 110)
    for name, tree in plain.items():
        here = end(tree, cache)
        there = torch.load(tmp_path / f"{name}-0.pt", weights_only=True)
        assert list(apart(there, here, rtol=1e-4, atol=1e-5)) == [], name
