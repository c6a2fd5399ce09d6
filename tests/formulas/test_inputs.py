"""What D is told and shown, and what G is given: what holds of any numbers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sweeper.catalog.families import priors, regularizers, tricks, walks
from sweeper.catalog.tricks.augmentation import Draw, blitted, deformed, recolored, warped
from sweeper.config import Misfit, Trial
from sweeper.game import Batch, Output, Player
from sweeper.ledger.ledger import Record
from sweeper.space.source import InputError
from sweeper.sweep.generate import made, walk_of
from sweeper.sweep.trained import Trained
from sweeper.trial.loop import Training
from sweeper.trial.networks import composed
from sweeper.trial.round import Round
from tests.formulas.games import Linear, Point, game, progress, turn_of
from tests.formulas.games import draw as reals

Tiny = Callable[..., dict[str, Any]]
few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**31)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@few
@given(eps_real=st.floats(0, 0.5), eps_fake=st.floats(0, 0.5), spread=st.floats(0, 1), seed=seeds)
def test_smoothed_targets_stay_within_0_and_1(
    eps_real: float, eps_fake: float, spread: float, seed: int
) -> None:
    trick = tricks["label_smoothing"].make(eps_real=eps_real, eps_fake=eps_fake, spread=spread)
    at = progress()
    for side, label in (("real", torch.ones(50)), ("fake", torch.zeros(50))):
        t = trick.targets(label, side, at)  # type: ignore[arg-type]
        assert 0 <= float(t.min()) <= float(t.max()) <= 1


def test_label_tricks_act_in_their_order(tiny: Tiny) -> None:
    names = ["label_flipping", "label_noise", "one_sided_label_smoothing"]
    trick = composed(Trial.read(tiny(tricks=names)))
    assert list(trick.all) == ["one_sided_label_smoothing", "label_noise", "label_flipping"]


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"loss": "hinge", "tricks": ["label_smoothing"]}, "needs targets"),
        ({"loss": "hinge", "tricks": ["label_noise"]}, "needs targets"),
        ({"loss": "relativistic", "tricks": ["label_noise"]}, "needs targets"),
        ({"tricks": ["label_smoothing", "one_sided_label_smoothing"]}, "both say"),
        ({"tricks": ["label_flipping", "packing"]}, "mix real examples and fakes"),
        ({"schedule": "one_step_joint_loss", "tricks": ["label_flipping"]}, "no longer cancel"),
        ({"tricks": {"label_flipping": {"p": 0.5}}}, "less than 0.5"),
        ({"tricks": {"one_sided_label_smoothing": {"alpha": 1.1}}}, "at most 1"),
        (
            {"data": "ring", "architecture": "mlp_gan", "tricks": ["diff_augment"]},
            "needs images",
        ),
        ({"data": "ring", "architecture": "mlp_gan", "tricks": ["ada"]}, "needs images"),
    ],
)
def test_what_is_refused(parts: dict[str, Any], why: str, tiny: Tiny) -> None:
    with pytest.raises(Misfit) as misfit:
        Trial.read(tiny(**parts))
    assert why in str(misfit.value)


@pytest.mark.parametrize(
    "parts",
    [
        {"loss": "hinge", "tricks": ["label_flipping"]},
        {"tricks": {"label_flipping": {"per": "batch"}, "packing": {}}},
        {"schedule": "one_step_joint_loss", "tricks": ["instance_noise", "diff_augment"]},
        {"tricks": {"label_smoothing": {"eps_fake": 0.0}}},
        {"tricks": ["ada", "instance_noise"], "regularizers": ["r1_penalty"]},
    ],
)
def test_what_goes_well_together(parts: dict[str, Any], tiny: Tiny) -> None:
    assert not Trial.read(tiny(**parts)).warnings()


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"tricks": ["label_smoothing"]}, "no reason to move"),
        ({"loss": "relativistic", "tricks": ["label_flipping"]}, "turns their difference"),
        ({"loss": "relativistic", "tricks": ["ada"]}, "sign of real scores"),
        ({"tricks": ["ada", "label_flipping"]}, "count as real"),
    ],
)
def test_what_is_warned_of(parts: dict[str, Any], why: str, tiny: Tiny) -> None:
    assert why in "; ".join(map(str, Trial.read(tiny(**parts)).warnings()))


@few
@given(n=st.integers(1, 20), p=st.floats(0.01, 1), per=st.sampled_from(["sample", "batch"]))
def test_flips_only_change_places(n: int, p: float, per: str) -> None:
    trick, labels = tricks["label_flipping"].make(p=p, per=per), torch.arange(n)
    real, fake = Batch(normal(n, 3), label=labels), Batch(normal(n, 3, seed=1), label=labels + n)
    shown = trick.pair(real, fake, progress())
    assert torch.equal(shown[0].image + shown[1].image, real.image + fake.image)
    taken = (shown[0].image == fake.image).all(1)
    assert torch.equal(taken, shown[0].label >= n)
    assert torch.equal(taken, (shown[1].image == real.image).all(1))


def test_flips_leave_g_and_the_names_of_turns_alone() -> None:
    gan = game(Linear([1.0]), Point([1.0]), tricks={"t": tricks["label_flipping"].make(p=1.0)})
    this = Round(gan, reals, progress(), gan.moves(progress(), {}))
    d, g = this.turn(Player.D, "main"), this.turn(Player.G, "main")
    assert torch.equal(d.scores.real, d.score(d.fake).scores)
    assert torch.equal(d.scores.fake, d.score(d.real).scores)
    assert torch.equal(g.scores.fake, g.score(g.fake).scores)


shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
augmentations = st.sampled_from(["diff_augment", "ada"])


@few
@given(shape=shapes, name=augmentations, seed=seeds)
def test_augmented_images_of_any_shape_are_finite_and_as_large(
    shape: tuple[int, int, int, int], name: str, seed: int
) -> None:
    trick = tricks[name].make(**({"start": 1.0} if name == "ada" else {}))
    x = normal(*shape, seed=seed).float()
    seen = trick.images(Batch(x, label=torch.arange(len(x))), progress())
    assert seen.image.shape == x.shape
    assert seen.image.dtype == x.dtype
    assert seen.image.isfinite().all()
    assert torch.equal(seen.label, torch.arange(len(x)))


@few
@given(shape=shapes, seed=seeds)
def test_warped_images_hold_nothing_that_was_not_there(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    x, draw = normal(*shape, seed=seed), Draw(normal(*shape), seeded(seed))
    seen = warped(x, blitted(draw, *shape[2:]) + deformed(draw, *shape[2:]))
    assert seen.max() <= x.max() + 1e-9
    assert seen.min() >= x.min() - 1e-9


@pytest.mark.parametrize("name", ["diff_augment", "ada"])
def test_penalties_look_through_augmentation(name: str) -> None:
    trick = tricks[name].make(**({"start": 1.0} if name == "ada" else {}))
    x = normal(2, 3, 4, 4).requires_grad_()

    def seen(x: Tensor) -> Tensor:
        return trick.images(Batch(x), progress()).image.tanh()

    assert torch.autograd.gradcheck(seen, x)
    assert torch.autograd.gradgradcheck(seen, x)


def test_r1_of_a_linear_d_behind_a_mirror_is_that_of_the_d_itself() -> None:
    d, x = Linear(normal(16).tolist()), normal(6, 1, 4, 4)

    def score(batch: Batch) -> Output:
        turned = warped(batch.image, blitted(Draw(batch.image, seeded()), 4, 4)[:2])
        return d(batch.showing(turned))

    r1 = regularizers["r1_penalty"].make(gamma=1.0)
    plain, behind = (r1(turn_of(s, x, x)) for s in (d, score))
    torch.testing.assert_close(plain, behind)


def test_augmentation_is_as_precise_in_reduced_precision() -> None:
    x = normal(3, 3, 8, 8).float()
    seen = []
    for reduced in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            draw = Draw(x, seeded())
            changes = blitted(draw, 8, 8) + deformed(draw, 8, 8)
            seen.append(recolored(warped(x, changes), draw))
    assert torch.equal(*seen)


def test_ada_counts_whole_moves_and_the_images_between_them(tiny: Tiny, cache: Path) -> None:
    ada = {"interval": 2, "speed_kimg": 0.1, "start": 0.5}
    parts = {"tricks": {"ada": ada}, "batch": {"size": 8, "accumulate": 2}}
    training = Training(Trial.read(tiny(**parts)), cache)
    training.advance()
    trick: Any = training.gan.tricks.all["ada"]
    assert training.progress.moves[Player.D] == 2
    assert float(trick.p) in (pytest.approx(0.5 + 0.16), pytest.approx(0.5 - 0.16))
    assert int(trick.seen) == 16
    assert float(trick.scores) == 0


@few
@given(size=st.integers(1, 300), seed=seeds)
def test_spherical_latents_lie_on_the_sphere(size: int, seed: int) -> None:
    z = priors["spherical_latent"].make(size=size)(10, seeded(seed))
    torch.testing.assert_close(z.norm(dim=1), torch.full((10,), size**0.5))


@few
@given(tau=st.floats(0.01, 20), seed=seeds)
def test_truncated_latents_lie_within(tau: float, seed: int) -> None:
    prior = priors["gaussian_latent"].make(size=50, truncation=tau)
    z = prior.shown(20, seeded(seed))
    assert z.isfinite().all()
    assert float(z.abs().max()) <= tau * (1 + 1e-6)
    assert torch.equal(z, prior.shown(20, seeded(seed)))


def test_truncation_is_a_bound_or_none(tiny: Tiny) -> None:
    for value in (None, 0.7):
        trial = Trial.read(tiny(prior={"gaussian_latent": {"size": 4, "truncation": value}}))
        assert trial.prior["truncation"] == value
    with pytest.raises(Misfit):
        Trial.read(tiny(prior={"gaussian_latent": {"truncation": 0.0}}))


@pytest.mark.parametrize("name", walks)
@few
@given(seed=seeds, d=st.integers(1, 20), scale=st.floats(1e-3, 1e3))
def test_walks_begin_and_end_where_they_say(name: str, seed: int, d: int, scale: float) -> None:
    a, b = normal(4, d, seed=seed), scale * normal(4, d, seed=seed + 1)
    way = walks[name].make()(a, b, torch.linspace(0, 1, 5)[:, None, None].double())
    assert way.shape == (5, 4, d)
    assert way.isfinite().all()
    torch.testing.assert_close(way[0], a)
    torch.testing.assert_close(way[-1], b)


@few
@given(seed=seeds, d=st.integers(2, 20), t=st.floats(0, 1))
def test_slerp_stays_on_the_sphere_and_lerp_within(seed: int, d: int, t: float) -> None:
    a, b = (torch.nn.functional.normalize(normal(4, d, seed=s)) for s in (seed, seed + 1))
    at = torch.tensor([[t]], dtype=torch.float64)
    slerp, lerp = (walks[f"{name}_interpolation"].make() for name in ("slerp", "lerp"))
    torch.testing.assert_close(slerp(a, b, at).norm(dim=1), torch.ones(4).double())
    assert (lerp(a, b, at).norm(dim=1) <= 1 + 1e-9).all()


def test_walks_are_known_by_their_short_names() -> None:
    assert walk_of("slerp") is walk_of("slerp_interpolation") is walks["slerp_interpolation"]
    with pytest.raises(InputError, match=r"lerp, slerp.*'slrp'.*did you mean slerp\?"):
        walk_of("slrp")


def test_a_row_of_walks_begins_and_ends_with_samples(tiny: Tiny, cache: Path) -> None:
    trial = Trial.read(tiny(regularizers=["auxiliary_classifier"]))
    training = Training(trial, cache)
    training.advance()
    record = Record(0, None, {}, trial.plain(), 0.0)
    trained = Trained(record, trial, training.state_dict(), cache)
    samples = made(trained, 3, 0)[0]
    for name in ("slerp", "lerp"):
        rows = made(trained, 3, 0, walk_of(name), 5)[0].unflatten(0, (3, 5))
        torch.testing.assert_close(rows[:, 0], samples)
        assert (rows[:, 0] != rows[:, -1]).flatten(1).any(1).all()
