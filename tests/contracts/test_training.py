"""What every technique owes the trainer."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sweeper.config import Trial
from sweeper.game import Player
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.trial.step import play_round
from tests.contracts.cases import Case, every_case
from tests.contracts.same import differences, leaves_the_other_alone

TrialOf = Callable[[Case], Trial]
Finished = Callable[[Case], dict[str, Any]]
ANEW = {"cycle_consistency_loss", "identity_loss"}
"""Losses that G makes other images for."""


@every_case
def test_trains_with_finite_losses(case: Case, finished: Finished) -> None:
    measurements = finished(case)["measurements"]
    assert [m["images"] for m in measurements] == [16, 32, 48]
    for measured in measurements:
        assert measured["losses"]
        assert all(map(math.isfinite, [measured["score"], *measured["losses"].values()]))
    assert math.isfinite(measurements[-1]["heldout"])


@every_case
def test_continuing_is_the_same_as_never_having_stopped(
    case: Case, trial_of: TrialOf, finished: Finished, cache: Path, tmp_path: Path
) -> None:
    first = Training(trial_of(case), cache)
    measured = first.advance()
    Checkpoints(tmp_path).save(measured.images, first.state_dict())
    assert list(differences(first.state_dict(), finished(case))), "the states tell 16 from 48"
    # Whatever ran in this process in between must not matter.
    torch.manual_seed(1234)
    again = Training(trial_of(case), cache)
    torch.rand(3)
    state = Checkpoints(tmp_path).load()
    assert state is not None
    again.load_state_dict(state)
    while not again.finished:
        again.advance()
    assert list(differences(again.state_dict(), finished(case))) == []


@every_case
def test_looking_never_changes_training(
    case: Case, trial_of: TrialOf, finished: Finished, cache: Path
) -> None:
    training = Training(trial_of(case), cache)
    while not training.finished:
        training.advance()
        shown, prior = training.gan.eval_generator(), training.gan.prior
        assert math.isfinite(training.evaluator.judge(shown, prior)[0])
        assert math.isfinite(training.evaluator.full(plainly(training), prior).score)
        assert training.evaluator.sample(shown, prior, 3, "sheet").isfinite().all()
    assert list(differences(training.state_dict(), finished(case))) == []


def plainly(training: Training) -> nn.Module:
    """The generator as it is, not as the tricks show it."""
    pairs = training.gan.networks.items()
    return training.gan.architecture.whole({name: pair.generator for name, pair in pairs})


@every_case
def test_a_move_leaves_the_other_player_alone(case: Case, trial_of: TrialOf, cache: Path) -> None:
    training = Training(trial_of(case), cache)
    moved = leaves_the_other_alone(training) | leaves_the_other_alone(training)
    assert moved == set(Player)


@every_case
def test_a_round_of_one_to_one_makes_its_fakes_once(
    case: Case, trial_of: TrialOf, cache: Path
) -> None:
    training = Training(trial_of(case), cache)
    gan, calls = training.gan, list[str]()
    gan.of(Player.G)[0].register_forward_hook(lambda *_: calls.append("G"))
    plan = gan.tricks.lookahead(frozenset({Player.G}), training.progress)
    # Where G looks ahead, each of the two moves has fakes of both places.
    elsewhere = plan is not None and any(Player.G in move for move in plan.moves)
    for fresh, forwards in ((False, 4), (True, 6)) if elsewhere else ((False, 1), (True, 2)):
        gan.schedule.fresh_latents = fresh
        calls.clear()
        play_round(gan, training.draw, training.progress, {})
        assert len(calls) == forwards + (case.entry.name in ANEW)
