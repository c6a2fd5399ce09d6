"""Everything is made where the trial computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sweeper.config import Trial
from sweeper.trial.loop import Training
from sweeper.trial.step import play_round
from tests.contracts.cases import Case, every_case


@every_case
def test_nothing_is_made_on_whatever_device_is_the_default(
    case: Case, trial_of: Callable[[Case], Trial], cache: Path
) -> None:
    training = Training(trial_of(case), cache)
    # The first round makes what optimizers keep, which torch itself puts where it likes.
    play_round(training.gan, training.draw, training.progress, {})
    with torch.device("meta"):
        seen = play_round(training.gan, training.draw, training.progress, {})
        seen |= play_round(training.gan, training.draw, training.progress, seen)
    assert all(value.device.type == "cpu" for value in seen.values())
    state = training.gan.eval_generator().state_dict()
    assert all(value.device.type == "cpu" for value in state.values())
