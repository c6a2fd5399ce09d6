"""What the budget of a trial is counted in, and how many real images D is shown in one of it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.catalog.datasets.store import Store
from sweeper.catalog.families import datasets
from sweeper.config import Misfit, Pick, Problem, Trial
from sweeper.game import Player, Progress, Streams, Trick
from sweeper.space.document import Axis


def images_of(axis: Axis, trial: Trial) -> float:
    """The real images of one unit of an axis: a thousand, all examples that are trained on, or
    those of the moves of D that go with one move of a player. Raises Misfit where that is not known
    before."""
    match axis:
        case "kimg":
            return 1000.0
        case "epochs":
            return examples(trial.data) * (1 - (trial.evaluation.held_out or 0.0))
        case "d_steps":
            return _batch(trial)
    moves = _moves(trial)
    return _batch(trial) * moves[Player.D] / moves[Player.G]


def lasting(axis: Axis, trial: Trial) -> Trial:
    """A trial whose horizon, and what lies between evaluations, was counted on an axis, in
    images. Raises Misfit."""
    if axis == "kimg":
        return trial
    factor, evaluation = images_of(axis, trial) / 1000, trial.evaluation
    often = evaluation.model_copy(update={"every_kimg": evaluation.every_kimg * factor})
    horizon = trial.horizon_kimg * factor
    return trial.model_copy(update={"horizon_kimg": horizon, "evaluation": often})


def examples(data: Pick) -> int:
    """How many examples a data set has."""
    return _counted(data.entry.name, data.knobs.model_dump_json())


@cache
def _counted(name: str, knobs: str) -> int:
    entry = datasets[name]
    data = Pick(entry, entry.knobs.model_validate_json(knobs))
    if name == "packed":
        return len(Store(Path(data["path"])))
    source: Any = data.make()
    return len(source)


def _batch(trial: Trial) -> int:
    """The real examples that a move of D is given."""
    n = trial.batch.size
    for pick in trial.tricks:
        target: Any = pick.entry.target
        if getattr(target, "batch_size", Trick.batch_size) is not Trick.batch_size:
            n = pick.make().batch_size(n)
    return n


def _moves(trial: Trial) -> Counter[Player]:
    """How often each player moves in a round."""
    schedule = trial.schedule.make()
    if not schedule.even:
        law = "the moves of D for one of G are known before where the budget is counted in g_steps"
        raise Misfit([Problem(("schedule",), f"{law}, but not of {trial.schedule.entry.name}")])
    moves = schedule.moves(Progress(Streams(0), horizon=1), {})
    return Counter(player for move in moves for player in move)
