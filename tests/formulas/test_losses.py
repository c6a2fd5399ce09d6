"""Losses, at scores whose payoffs can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from sweeper.catalog.families import losses
from sweeper.game import Scores
from sweeper.registry import tags
from tests.formulas.games import scores

REAL, FAKE = [2.0, 0.5], [-3.0, 0.25]
some = st.lists(st.floats(-20, 20), min_size=1, max_size=8)


def slope(loss: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, of)[0]


@given(real=some, fake=some)
def test_non_saturating_is_binary_cross_entropy(real: list[float], fake: list[float]) -> None:
    loss, said = losses["non_saturating"].make(), scores(real, fake)
    expected = bce(said.real, torch.ones(len(real)).double()) + bce(
        said.fake, torch.zeros(len(fake)).double()
    )
    torch.testing.assert_close(loss.discriminator(said), expected)
    torch.testing.assert_close(loss.generator(said), bce(said.fake, torch.ones(len(fake)).double()))


@given(fake=some)
def test_non_saturating_slope_for_g_is_sigmoid_minus_one(fake: list[float]) -> None:
    said = scores([0.0], fake)
    gradient = slope(losses["non_saturating"].make().generator(said), said.fake)
    torch.testing.assert_close(gradient * len(fake), said.fake.sigmoid() - 1)


def test_non_saturating_at_equilibrium() -> None:
    loss, said = losses["non_saturating"].make(), scores([0.0], [0.0])
    assert loss.discriminator(said).item() == pytest.approx(2 * math.log(2), rel=1e-12)
    assert loss.generator(said).item() == pytest.approx(math.log(2), rel=1e-12)


def test_hinge() -> None:
    loss, said = losses["hinge"].make(), scores(REAL, FAKE)
    assert loss.discriminator(said).item() == 0.875
    assert loss.generator(said).item() == 1.375
    assert loss.discriminator(scores([0.0], [0.0])).item() == 2


@given(real=some, fake=some)
def test_hinge_is_the_mirrored_form_at_minus_d(real: list[float], fake: list[float]) -> None:
    said = scores(real, fake)
    mirrored = (1 + -said.real).relu().mean() + (1 - -said.fake).relu().mean()
    torch.testing.assert_close(losses["hinge"].make().discriminator(said), mirrored)


@given(real=some, fake=some, margin=st.floats(0.5, 2))
def test_hinge_with_a_margin_is_the_hinge_at_another_scale(
    real: list[float], fake: list[float], margin: float
) -> None:
    said = scores([margin * r for r in real], [margin * f for f in fake])
    wide, unit = losses["hinge"].make(margin=margin), losses["hinge"].make()
    torch.testing.assert_close(
        wide.discriminator(said), margin * unit.discriminator(scores(real, fake))
    )


@pytest.mark.parametrize("shift", [-3.0, 0.5])
def test_wasserstein_of_a_linear_critic(shift: float) -> None:
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(5, generator=generator, dtype=torch.float64)
    x = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    y = 2 + torch.randn(64, 5, generator=generator, dtype=torch.float64)
    loss = losses["wasserstein"].make()
    said = scores((x @ w).tolist(), (y @ w).tolist())
    torch.testing.assert_close(loss.discriminator(said), w @ (y.mean(0) - x.mean(0)))
    torch.testing.assert_close(loss.generator(said), -w @ y.mean(0))
    # Only differences of scores mean anything to D.
    moved = scores((x @ w + shift).tolist(), (y @ w + shift).tolist())
    torch.testing.assert_close(loss.discriminator(moved), loss.discriminator(said))
    torch.testing.assert_close(loss.generator(moved), loss.generator(said) - shift)


def test_a_drift_holds_the_scores_of_real_examples_near_zero() -> None:
    said = scores(REAL, FAKE)
    plain, drifting = (losses["wasserstein"].make(drift=d) for d in (0.0, 0.01))
    added = drifting.discriminator(said) - plain.discriminator(said)
    torch.testing.assert_close(added, 0.01 * said.real.square().mean())
    assert drifting.generator(said) == plain.generator(said)


def test_least_squares() -> None:
    loss, said = losses["least_squares"].make(), scores(REAL, FAKE)
    assert loss.discriminator(said).item() == 0.5 * 0.625 + 0.5 * 4.53125
    assert loss.generator(said).item() == ((-4) ** 2 + 0.75**2) / 4
    assert loss.discriminator(scores([0.5], [0.5])).item() == 0.25


def test_least_squares_with_the_pearson_coding() -> None:
    loss, said = losses["least_squares"].make(coding="pearson"), scores(REAL, FAKE)
    assert loss.discriminator(said).item() == (1 + 0.25) / 4 + (4 + 1.5625) / 4
    assert loss.generator(said).item() == (9 + 0.0625) / 4


@pytest.mark.parametrize(
    ("coding", "fake_code", "real_code"), [("zero_one", 0, 1), ("pearson", -1, 1)]
)
def test_smoothing_moves_the_real_code_alone(coding: str, fake_code: int, real_code: int) -> None:
    said = scores(REAL, FAKE, targets=lambda t, side: 0.9 * t if side == "real" else t)
    smoothed = fake_code + 0.9 * (real_code - fake_code)
    expected = (
        (said.real - smoothed).square().mean() + (said.fake - fake_code).square().mean()
    ) / 2
    loss = losses["least_squares"].make(coding=coding).discriminator(said)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    "name", [name for name in losses if "relativistic" not in tags(losses[name].provides)]
)
def test_g_never_has_real_examples_scored(name: str) -> None:
    def score(batch: object) -> object:
        raise AssertionError("a real batch was scored")

    said = scores([0.0], FAKE)
    lazy = Scores(
        lambda b: said.score(b) if b is said.fake_batch else score(b),
        said.real_batch,
        said.fake_batch,
    )  # type: ignore[arg-type, return-value]
    assert losses[name].make().generator(lazy).isfinite()


def test_only_scores_that_are_logits_are_read_as_beliefs() -> None:
    said = scores(REAL, FAKE)
    lead = said.real - said.fake.mean()
    for name in ("relativistic", "relativistic_average"):
        beliefs = losses[name].make().beliefs(said.real, said.fake)
        assert beliefs is not None
        torch.testing.assert_close(beliefs[0], lead.sigmoid())
        for base in ("least_squares", "hinge"):
            assert losses[name].make(base=base).beliefs(said.real, said.fake) is None
    for name in ("least_squares", "hinge", "wasserstein"):
        assert losses[name].make().beliefs(said.real, said.fake) is None
    assert [name for name in losses if losses[name].make().critic] == ["wasserstein"]


def test_there_is_no_relativistic_wasserstein() -> None:
    with pytest.raises(ValueError, match="standard"):
        losses["relativistic"].knobs.model_validate({"base": "wasserstein"})
