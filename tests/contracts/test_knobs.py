"""No knob is dead: the two ends of its range lead, within 20 rounds, to other weights, other losses
or another score."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeper.catalog import families as of
from sweeper.config import Misfit, Trial
from sweeper.registry import Integers, LogUniform, Options, Recommended, Uniform
from sweeper.trial.loop import Training
from tests.contracts.cases import CASES, Case
from tests.contracts.same import differences

Tree = dict[str, Any]

MATTERS_WITH: dict[str, Tree] = {
    "decay_start": {"decay": "linear"},
    "attentive_norm.groups": {"base": "group"},
    "ada.interval": {"start": 0.5, "speed_kimg": 1.0},
    "ada.pipeline": {"start": 0.5},
    "ada.target": {"start": 0.5, "speed_kimg": 1.0},
    "gradient_clip_norm.norm": {"max_norm": 1e-3},
    "gradient_clip_norm.on": {"max_norm": 1e-3},
    "self_attention.reduction": {"at": 4},
    "gradient_clip_value.on": {"value": 1e-4},
    "stacked_gan.share": {"training": "sequential"},
}
"""Knobs that say how another one acts, and a value at which that one does: of any technique, or of
the one that is named."""

DEEP: Tree = {"architecture": {"mlp_gan": {"hidden": 8, "depth": 3}}}
"""Networks with several normalized layers on both sides."""

MATTERS_BESIDE: dict[str, Tree] = {
    "kalman_norm.gain": DEEP,
    "kalman_norm.transition": DEEP,
    "simultaneous_update.shared_forward": {"tricks": {"instance_noise": {}}},
}
"""Knobs that act where something else is in the trial, and what."""


@dataclass(frozen=True)
class Knob:
    """One knob of a technique in a place."""

    case: Case
    name: str
    recommended: Recommended

    def __str__(self) -> str:
        return f"{self.case}.{self.name}"

    def ends(self) -> tuple[Any, Any]:
        match self.recommended:
            case Options(values):
                return values[0], values[-1]
            case Uniform(low, high) | LogUniform(low, high) | Integers(low, high):
                return low, high

    def at(self, value: Any, trial: Trial) -> Trial:
        """The trial with this knob at a value."""
        tree = deepcopy(trial.plain())
        node: Any = tree
        for key in (*self.case.place.path, self.case.entry.name):
            node = node[key]
        for name in (self.name, f"{self.case.entry.name}.{self.name}"):
            node |= MATTERS_WITH.get(name, {})
        node[self.name] = value
        return Trial.read(tree | MATTERS_BESIDE.get(f"{self.case.entry.name}.{self.name}", {}))


OF_D = {case.entry.name for case in CASES if case.place.path[0] == "discriminator"}
KNOBS = [
    Knob(case, name, recommended)
    for case in CASES
    # Those of diagnostics and metrics act on what is said of training, never on training itself.
    if case.entry.family not in (of.diagnostics.family, of.metrics.family)
    # What stands on either side is one technique: its knobs are turned in D.
    if case.place.path[0] != "generator" or case.entry.name not in OF_D
    for name in case.entry.knobs.model_fields
    if (recommended := case.entry.recommended(name)) is not None
]


@pytest.mark.parametrize("knob", KNOBS, ids=str)
def test_its_ends_lead_elsewhere(
    knob: Knob, trial_of: Callable[[Case], Trial], cache: Path
) -> None:
    found = []
    for value in knob.ends():
        try:
            found.append(after(knob.at(value, trial_of(knob.case)), cache))
        except Misfit as misfit:
            found.append({"refused": str(misfit)})
    assert list(differences(*found)), knob.ends()


def after(trial: Trial, cache: Path) -> Tree:
    """What can be seen of a trial after 20 rounds."""
    rounds = 20 * trial.batch.size / 1000
    kimg = {
        "horizon_kimg": rounds,
        "evaluation": trial.plain()["evaluation"] | {"every_kimg": rounds},
    }
    training = Training(Trial.read(trial.plain() | kimg), cache)
    measured = training.advance()
    state = training.state_dict()
    return {
        "networks": state["gan"]["networks"],
        "losses": measured.losses,
        "scores": [measured.score, measured.heldout],
    }
