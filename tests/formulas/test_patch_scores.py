"""A D that says of each example P times the same is the D that says it once, whatever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.catalog.families import regularizers, tricks
from sweeper.config import Trial
from sweeper.game import Batch, Output, Player, Scores
from sweeper.trial.loop import Training
from sweeper.verify.contracts import Case, bases, cases, trial_with
from sweeper.verify.toys import turn_of
from tests.formulas.games import progress

READING = ("loss", "regularizers", "tricks")
CASES = [case for case in cases() if case.place.path[0] in READING]
PATCHES = 4


def repeated(module: nn.Module, given: Any, said: Output) -> Output:
    return said._replace(scores=said.scores.reshape(len(said.scores), -1).repeat(1, PATCHES))


def seen(trial: Trial, cache: Path, *, patches: bool) -> tuple[dict[str, float], list[Tensor]]:
    """What two rounds show, and the weights after them."""
    training = Training(trial, cache)
    for pair in training.gan.networks.values():
        if patches:
            pair.discriminator.register_forward_hook(repeated)
    shown = dict[str, float]()
    for _ in range(2):
        shown = {name: float(value) for name, value in training.round().items()}
    weights = [p for player in Player for p in training.gan.parameters(player)]
    return shown, [weight.detach() for weight in weights]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_score_many_times_is_one_score(case: Case, cache: Path) -> None:
    tree = trial_with(case, bases(cache)).plain()
    for side in ("generator", "discriminator"):
        tree[side]["optimizer"] = {"sgd": {"lr": 1e-3}}  # Adam makes much of a rounding of zero
    trial = Trial.read(tree)
    one, weights = seen(trial, cache, patches=False)
    many, others = seen(trial, cache, patches=True)
    assert many == pytest.approx(one, rel=1e-4, abs=1e-5)
    torch.testing.assert_close(others, weights, rtol=1e-4, atol=1e-5)


def patchy(real: Tensor, fake: Tensor, **more: Any) -> Scores:
    """Scores of patches as numbers."""
    batches = Batch(torch.zeros(len(real), 1)), Batch(torch.zeros(len(fake), 1))
    return Scores(lambda b: Output(real if b is batches[0] else fake), *batches, **more)


def test_g_learns_from_all_patches_of_the_fakes_that_are_best_on_the_whole() -> None:
    scores = torch.tensor([[9.0, -9.0], [1.0, 2.0], [0.0, -1.0], [3.0, 1.0]])
    kept = (
        tricks["top_k"].make(final_share=0.5, until=0.5).fake_scores(scores, progress(images=999))
    )
    assert kept.tolist() == [[3.0, 1.0], [1.0, 2.0]]


@pytest.mark.parametrize("name", ["label_noise", "label_smoothing", "one_sided_label_smoothing"])
def test_the_patches_of_an_example_share_their_target(name: str) -> None:
    knobs: dict[str, Any] = {"sigma": 0.1} if name == "label_noise" else {"spread": 0.5}
    trick, at = tricks[name].make(**knobs), progress()
    scores = patchy(
        torch.zeros(20, 3), torch.zeros(20, 3), targets=lambda t, side: trick.targets(t, side, at)
    )
    drawn = scores.real_targets
    assert drawn.shape == (20, 3)
    assert (drawn == drawn[:, :1]).all()
    assert len(set(drawn[:, 0].tolist())) > 1


class Halves(nn.Module):
    """Scores a·x of one half of four numbers, and b·x of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[3.0, 4.0], [6.0, 8.0]], dtype=torch.float64))

    def forward(self, batch: Batch) -> Output:
        return Output((batch.image.reshape(-1, 2, 2) * self.weight).sum(2))


def test_a_slope_is_that_of_the_mean_score() -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    turn = turn_of(Halves(), x, x + 1)
    norm = torch.tensor([3.0, 4.0, 6.0, 8.0]).double().norm() / 2
    penalty: Callable[..., Tensor] = regularizers["gradient_penalty"].make(weight=1.0)
    assert penalty(turn).item() == pytest.approx(float((norm - 1) ** 2))
    r1: Callable[..., Tensor] = regularizers["r1_penalty"].make(gamma=2.0)
    assert r1(turn).item() == pytest.approx(float(norm**2))
