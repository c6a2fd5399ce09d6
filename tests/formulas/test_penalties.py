"""Penalties in trials: what they refuse to stand beside, and what they do in a round."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import constraints, regularizers, tricks
from sweeper.catalog.regularizers.dragan import perturbed
from sweeper.catalog.regularizers.views import flipped_and_shifted
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Networks, Output, Player, Regularizer
from sweeper.registry import tags
from sweeper.trial.gan import Term
from sweeper.trial.loop import Training
from sweeper.trial.round import Round
from sweeper.trial.step import play, play_round
from sweeper.verify.toys import Linear, Point, Squares, examples, game, origin, turn_of
from tests.formulas.games import progress

Tree = dict[str, Any]
Tiny = Callable[..., Tree]

SLOPES = [n for n, e in regularizers.items() if "input_gradient" in tags(e.provides)]
NORMS = ["gradient_penalty", "dragan"]
SMALL = ["r1_penalty", "r2_penalty", "zero_centered_gp"]
ADAM = {"normalization": "none", "optimizer": "adam"}


def refusals(tree: Tree) -> str:
    with pytest.raises(Misfit) as misfit:
        Trial.read(tree)
    return str(misfit.value)


def warnings(tree: Tree) -> str:
    return "; ".join(map(str, Trial.read(tree).warnings()))


def d(**changes: Any) -> Tree:
    return {"discriminator": ADAM | changes}


def test_every_penalty_of_slopes_has_its_laws() -> None:
    assert sorted(SLOPES) == sorted(NORMS + SMALL)


@pytest.mark.parametrize("name", NORMS)
def test_slopes_of_a_norm_need_scores_of_their_own(name: str, tiny: Tiny) -> None:
    law = refusals(tiny(regularizers=[name], **d(normalization="batch_norm")))
    assert f"{name} does not go with batch_norm: batch statistics" in law
    assert "batch_norm" not in warnings(tiny(regularizers=[name]))  # it stands in G alone


@pytest.mark.parametrize("name", SMALL)
def test_small_slopes_had_better_be_of_scores_of_their_own(name: str, tiny: Tiny) -> None:
    tree = tiny(regularizers=[name], **d(normalization="batch_norm"))
    assert f"{name} beside batch_norm: batch statistics" in warnings(tree)
    assert "batch_norm" not in warnings(tiny(regularizers=[name]))


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_and_their_neighbours(name: str, tiny: Tiny) -> None:
    law = refusals(tiny(regularizers=[name], **d(constraint="weight_clipping")))
    assert f"{name} does not go with weight_clipping" in law
    law = refusals(tiny(regularizers=[name], tricks=["minibatch_discrimination"]))
    assert f"{name} does not go with minibatch_discrimination" in law
    warned = warnings(tiny(regularizers=[name], tricks=["minibatch_stddev"]))
    assert f"{name} beside minibatch_stddev" in warned
    warned = warnings(tiny(regularizers=[name], tricks={"unrolled_gan": {"steps": 1}}))
    assert warned.count(name) == 1


def test_two_bounds_on_the_slope_of_d(tiny: Tiny) -> None:
    spectral = d(constraint="spectral_norm")
    for target in (1.0, 0.0):
        tree = tiny(regularizers={"gradient_penalty": {"target": target}}, **spectral)
        assert ("gradient_penalty beside spectral_norm" in warnings(tree)) == (target > 0)
    assert "spectral_norm" not in warnings(tiny(regularizers=["r1_penalty"], **spectral))


@pytest.mark.parametrize("on", ["discriminator", "generator", "both"])
@pytest.mark.parametrize("side", list(Player))
def test_a_spectral_norm_of_one_is_not_brought_down(on: str, side: Player, tiny: Tiny) -> None:
    tree = tiny(regularizers={"spectral_norm_regularization": {"on": on}})
    tree[side] = tree[side] | {"constraint": "spectral_norm"}
    if on in (side, "both"):
        assert "spectral_norm_regularization does not go with spectral_norm" in refusals(tree)
    else:
        Trial.read(tree)


def test_historical_averaging_beside_an_average(tiny: Tiny) -> None:
    for on, warned in (("both", True), ("generator", True), ("discriminator", False)):
        tree = tiny(regularizers={"historical_averaging": {"on": on}}, tricks=["ema"])
        assert ("historical_averaging beside ema" in warnings(tree)) == warned


def test_weights_that_are_clipped_keep_no_momentum(tiny: Tiny) -> None:
    clipped = d(constraint="weight_clipping", optimizer={"adam": {"beta1": 0.5}})
    assert "weight_clipping beside adam" in warnings(tiny(**clipped))
    clipped = d(constraint="weight_clipping", optimizer={"adam": {"beta1": 0.0}})
    assert "adam" not in warnings(tiny(**clipped))


def test_batch_statistics_beside_how_batches_are_made(tiny: Tiny) -> None:
    mixed = {"size": 8, "mixed": True}
    tree = tiny(batch=mixed, **d(normalization="batch_norm"))
    assert "batch beside batch_norm: batch statistics tell D" in warnings(tree)
    assert "batch_norm" not in warnings(tiny(batch=mixed))
    assert "generator.normalization.batch_norm: batch_norm beside batch" in warnings(
        tiny(batch={"size": 4})
    )


def test_consistency_is_asked_for_once(tiny: Tiny) -> None:
    both = ["balanced_consistency", "consistency_regularization"]
    assert "does not go with balanced_consistency" in refusals(tiny(regularizers=both))


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_are_those_behind_noise(name: str) -> None:
    noise, seen = tricks["instance_noise"].make(sigma=0.5, until=1.0), list[Tensor]()
    critic = Squares()

    def score(batch: Batch) -> Output:
        batch = noise.images(batch, turn.progress)
        seen.append(batch.image.detach())
        return critic(batch)  # type: ignore[no-any-return]

    real = examples(8, 3).float()
    turn = turn_of(critic, real, real, score=score)
    value = regularizers[name].make()(turn)
    slope = seen[-1].norm(dim=1)
    expected = {
        "r1_penalty": 5 * slope.square().mean(),
        "r2_penalty": 5 * slope.square().mean(),
        "zero_centered_gp": 10 * slope.square().mean(),
    }.get(name, 10 * (slope - 1).square().mean())
    torch.testing.assert_close(value, expected)
    assert not torch.equal(seen[-1], real)


def test_dragan_perturbs_clean_examples() -> None:
    real = examples(64, 3)
    noisy = turn_of(Squares(), real, real, score=lambda b: Squares()(b.showing(b.image + 100)))
    clean = turn_of(Squares(), real, real)
    assert torch.equal(
        perturbed(noisy, 0.5, "uniform").image, perturbed(clean, 0.5, "uniform").image
    )


@pytest.mark.parametrize("name", SLOPES)
def test_a_pack_is_one_example(name: str, tiny: Tiny, cache: Path) -> None:
    tree = tiny(regularizers=[name], tricks={"packing": {"m": 2}})
    training = Training(Trial.read(tree), cache)
    terms = play_round(training.gan, training.draw, training.progress, {})
    assert terms[f"discriminator.{name}"].isfinite()


def test_images_keep_what_is_known_of_them_and_their_sizes() -> None:
    x = examples(5, 2, 16, 24)
    seen = flipped_and_shifted(x, torch.Generator().manual_seed(0))
    assert seen.shape == x.shape
    assert all(set(new.unique().tolist()) <= set(old.tolist()) for new, old in zip(
        seen.flatten(1), x.flatten(1), strict=True))  # fmt: skip
    tiny = examples(5, 1, 4, 4)
    moved = flipped_and_shifted(tiny, torch.Generator().manual_seed(0))
    assert all(any(torch.equal(m, k) for k in (t, t.flip(-1))) for m, t in zip(
        moved, tiny, strict=True))  # fmt: skip


class Looking(nn.Module):
    """A critic of one layer whose spectral norm is followed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1).double()

    def forward(self, batch: Batch) -> Output:
        return Output(self.layer(batch.image).squeeze(1))


def test_what_is_remembered_is_saved() -> None:
    term: Any = regularizers["spectral_norm_regularization"].make(on="both")
    assert isinstance(term, Regularizer)
    networks: Networks = game(Looking(), nn.Linear(2, 3), lr=0.1, terms=[
        Term("spectral_norm_regularization", term, "both", 1)]).networks  # fmt: skip
    assert set(term.state_dict()) == {
        "directions.main:discriminator:0",
        "directions.main:generator:0",
    }
    assert list(networks) == ["main"]


def test_steps_looked_ahead_to_leave_spectral_norm_alone(tiny: Tiny, cache: Path) -> None:
    sizes = []
    for ahead in ({}, {"unrolled_gan": {"steps": 2}}):
        tree = tiny(tricks=ahead, **d(constraint="spectral_norm"))
        gan = (training := Training(Trial.read(tree), cache)).gan
        before = {k: b.clone() for k, b in gan.of(Player.D)[0].named_buffers()}
        move = frozenset({Player.G})
        play(gan, move, Round(gan, training.draw, training.progress, [move]))
        after = dict(gan.of(Player.D)[0].named_buffers())
        assert all(torch.equal(before[k], after[k]) for k in before)
        sizes.append(len(before))
    assert sizes[0] == sizes[1] > 0


def test_weight_norm_may_be_differentiated_twice(tiny: Tiny, cache: Path) -> None:
    tree = tiny(regularizers=["gradient_penalty"], **d(constraint="weight_norm"))
    training = Training(Trial.read(tree), cache)
    play_round(training.gan, training.draw, training.progress, {})
    weight = constraints["weight_norm"].make()(nn.Linear(3, 2).double())
    x = examples(4, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: weight(x).tanh(), x)


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "radius"), [(0.1, 0.0023), (0.0, 208.6), (3.0, 1.21)])
def test_historical_averaging_settles_the_game_of_the_catalog(weight: float, radius: float) -> None:
    discriminator, g, name = Linear([1.0]), Point([1.0]), "historical_averaging"
    terms = [Term(name, regularizers[name].make(weight=weight), "both", 1)] if weight else []
    gan = game(discriminator, g, lr=0.05, schedule="simultaneous_update", terms=terms)
    at = progress()
    for _ in range(4000):
        play_round(gan, origin, at, {})
    distance = math.hypot(discriminator.weight.item(), g.place.item())
    assert distance == pytest.approx(radius, rel=0.01)
