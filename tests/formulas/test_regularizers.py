"""Penalties of critics whose slope is known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sweeper.catalog.families import regularizers
from sweeper.game import Batch, Output, Player
from sweeper.registry import tags
from sweeper.trial.gan import Term
from sweeper.trial.step import play_round
from tests.formulas.games import Linear, Point, draw, game, progress, turn_of

PENALTIES = [n for n, e in regularizers.items() if "input_gradient" in tags(e.provides)]

slopes = st.lists(st.floats(-3, 3), min_size=2, max_size=6).filter(
    lambda w: sum(v * v for v in w) > 1e-6
)


def examples(n: int, dimensions: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, dimensions, generator=generator, dtype=torch.float64)


def penalty(name: str, d: nn.Module, real: Tensor, fake: Tensor, **knobs: object) -> Tensor:
    value: Tensor = regularizers[name].make(**knobs)(turn_of(d, real, fake))
    return value


class Squares(nn.Module):
    """Scores half the squared distance from the origin: the slope at x is x."""

    def forward(self, batch: Batch) -> Output:
        return Output(batch.image.flatten(1).square().sum(1) / 2)


@given(w=slopes, gamma=st.floats(0.01, 100))
def test_r1_of_a_linear_critic(w: list[float], gamma: float) -> None:
    real, fake = examples(8, len(w), 0), examples(8, len(w), 1)
    expected = gamma / 2 * sum(v * v for v in w)
    value = float(penalty("r1_penalty", Linear(w), real, fake, gamma=gamma).detach())
    assert value == pytest.approx(expected, rel=1e-9)


def test_r1_looks_at_real_examples_only() -> None:
    real, fake = examples(8, 3, 0), examples(8, 3, 1)
    value = penalty("r1_penalty", Squares(), real, fake, gamma=2.0)
    torch.testing.assert_close(value, real.square().sum(1).mean())


@given(w=slopes, weight=st.floats(0.1, 100), target=st.floats(0, 2))
def test_gradient_penalty_of_a_linear_critic(w: list[float], weight: float, target: float) -> None:
    real, fake = examples(8, len(w), 0), examples(8, len(w), 1)
    norm = sum(v * v for v in w) ** 0.5
    for one_sided in (False, True):
        excess = max(0.0, norm - target) if one_sided else norm - target
        value = penalty(
            "gradient_penalty", Linear(w, 7.0), real, fake,
            weight=weight, target=target, one_sided=one_sided,
        )  # fmt: skip
        assert float(value.detach()) == pytest.approx(weight * excess**2, rel=1e-6, abs=1e-9)


def test_gradient_penalty_looks_between_real_and_fake() -> None:
    # All real examples at a, all fakes at b: the slopes, which are places, lie on the line between.
    seen = list[Tensor]()

    class Watched(Squares):
        def forward(self, batch: Batch) -> Output:
            seen.append(batch.image.detach())
            return super().forward(batch)

    a, b = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([-1.0, 5.0, 0.0]).double()
    value = penalty("gradient_penalty", Watched(), a.expand(500, 3), b.expand(500, 3), weight=1.0)
    *_, between = seen
    share = (between - b) / (a - b)
    torch.testing.assert_close(share, share[:, :1].expand(-1, 3))
    assert 0 <= share.min() < 0.01
    assert 0.99 < share.max() <= 1
    assert float(share.mean()) == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(value, (between.norm(dim=1) - 1).square().mean())


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_moves_d_and_not_g(name: str) -> None:
    d, g = Linear([1.5, 2.0]), Point([0.5, -0.5])
    fake = g(torch.zeros(4, 1), None)  # type: ignore[arg-type]
    turn = turn_of(d, examples(4, 2, 0), fake.detach())
    regularizers[name].make()(turn).backward()
    assert d.weight.grad is not None
    assert d.weight.grad.abs().sum() > 0
    assert g.place.grad is None


@pytest.mark.parametrize("name", PENALTIES)
def test_taken_lazily_a_penalty_weighs_the_same(name: str) -> None:
    totals = {}
    for every in (1, 4):
        d = Linear([1.7], bias=0.5)
        term = Term(name, regularizers[name].make(), "discriminator", every)
        # A rate of zero holds the critic still, so that every move pays the same.
        gan, at, paid = game(d, Point([1.0]), lr=0.0, terms=(term,)), progress(), list[float]()
        for _ in range(8):
            terms = play_round(gan, draw, at, {})
            paid.append(float(terms.get(f"discriminator.{name}", 0)))
        assert sum(p > 0 for p in paid) == 8 // every
        totals[every] = sum(paid)
    assert totals[4] == pytest.approx(totals[1], rel=1e-12)


def test_a_penalty_is_due_by_the_moves_of_its_own_player() -> None:
    term = Term("r1_penalty", regularizers["r1_penalty"].make(), "discriminator", 2)
    turn = turn_of(Linear([1.0]), examples(4, 1, 0), examples(4, 1, 1))
    turn.progress.moves[Player.G] = 1
    assert term.due(turn)
    turn.progress.moves[Player.D] = 1
    assert not term.due(turn)
