"""Proposals: Optuna fills the holes of the search space, and is told what became of each trial."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.config import Misfit, Trial
from sweeper.game import derive
from sweeper.ledger.ledger import Ledger, Record
from sweeper.space.space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.ERROR)

SHOWN = 200
"""TPE's time per proposal grows with the trials it is shown; beyond these it learns little."""
VALUES = 2400
"""It grows with their parameters, too, so of many parameters fewer trials are shown."""
ATTEMPTS = 200


class ExhaustedError(RuntimeError):
    """So many draws in a row broke a law that there is no use in going on."""


@dataclass
class Proposer:
    """Draws trials from a space. What it proposes is a function of the ledger, so it is made anew
    at every start; what it remembers of trials only saves the making of them again."""

    space: SearchSpace
    probe: Callable[[Trial], None]
    seed: int
    rejected: dict[str, int] = field(default_factory=dict)
    remembered: dict[int, tuple[int, FrozenTrial]] = field(default_factory=dict)

    def propose(self, records: Sequence[Record]) -> tuple[dict[str, Any], Trial, str | None]:
        """The next trial, given all trials so far: its parameters, the trial, and the baseline it
        is, if it is one.

        Raises ExhaustedError when no draw fits.
        """
        number = len(records)
        if number < len(self.space.baselines):
            baseline = self.space.baselines[number]
            params, trial = self.space.baseline(baseline)
            return params, self._seeded(trial, number), baseline.name
        study = self._study(records)
        for attempt in range(ATTEMPTS):
            study.sampler = sampler(self.space.search.method, derive(self.seed, number, attempt))
            asked = study.ask()
            try:
                trial = self.space.sample(asked)
                self.probe(trial)
            except Misfit as misfit:
                for problem in misfit.problems:
                    self.rejected[problem.law] = self.rejected.get(problem.law, 0) + 1
                study.tell(asked, state=TrialState.FAIL)
                continue
            return dict(asked.params), self._seeded(trial, number), None
        reasons = "; ".join(f"{law} ({n} times)" for law, n in self.rejected.items())
        raise ExhaustedError(f"{ATTEMPTS} draws in a row did not fit: {reasons}")

    def _seeded(self, trial: Trial, number: int) -> Trial:
        return trial.model_copy(update={"seed": derive(self.seed, "trial", number) % (1 << 31)})

    def _study(self, records: Sequence[Record]) -> optuna.Study:
        if self.space.search.method == "random":
            return random_study(0)
        at_most = min(SHOWN, VALUES // max(len(self.space.parameters), 1))
        kept = {r.number: self._remembered(r) for r in shown(records, at_most)}
        self.remembered = kept
        storage = Past([trial for _, trial in kept.values()])
        return optuna.create_study(storage=storage, direction="minimize")

    def _remembered(self, record: Record) -> tuple[int, FrozenTrial]:
        """A trial as Optuna is to see it, made once for all that happened to it so far."""
        seq = record.last.seq if record.last is not None else 0
        known = self.remembered.get(record.number)
        if known is not None and known[0] == seq:
            return known
        trial = frozen(self.space, record)
        # Draws that did not fit are trials, too, and come first in number.
        trial.number = ATTEMPTS + record.number
        return seq, trial


class Past(InMemoryStorage):
    """A study whose past is shown to samplers as it stands, and not copied and checked, trial by
    trial, for every proposal."""

    def __init__(self, past: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self.past = past

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        now = super().get_all_trials(study_id, deepcopy, states)
        return [t for t in self.past if states is None or t.state in states] + now


def random_study(seed: int) -> optuna.Study:
    """A study in memory that draws at random."""
    return optuna.create_study(direction="minimize", sampler=RandomSampler(seed=seed))


def sampler(method: str, seed: int) -> BaseSampler:
    """A sampler of its own for each proposal: one made again with the same seed would repeat
    itself."""
    seed %= 1 << 32
    if method == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=8, constant_liar=True
        )


def shown(records: Sequence[Record], at_most: int) -> list[Record]:
    """The trials that a sampler is shown: all, or the best half, the latest and the first of too
    many."""
    usable = [r for r in records if r.state != "failed"]
    if len(usable) <= at_most:
        return usable
    best = heapq.nsmallest(at_most // 2, usable, key=lambda r: (r.score is None, r.score))
    kept = {r.number for r in (*best, *usable[-at_most // 4 :], *usable[: at_most // 4])}
    return [r for r in usable if r.number in kept]


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a value can be drawn; a baseline's may lie outside of what is searched."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return value in choices
        case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
            return bool(low <= value <= high)
    return False


class Recall:
    """Fills holes with what a trial had, noting the distribution each was drawn from."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params
        self.distributions: dict[str, BaseDistribution] = {}

    def _recall(self, name: str, distribution: BaseDistribution) -> Any:
        value = self.params[name]
        if contains(distribution, value):
            self.distributions[name] = distribution
        return value

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._recall(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._recall(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._recall(name, CategoricalDistribution(choices))


def frozen(space: SearchSpace, record: Record) -> FrozenTrial:
    """A trial as Optuna is to see it.

    Stopped trials are PRUNED with their intermediate values. Those that diverged or failed a
    diagnosis are PRUNED and break a constraint, which ranks them last: FAIL is ignored by TPE, and
    a made-up value would be learnt from.
    """
    recall = Recall(record.params)
    space.walk(recall)
    states = {
        "completed": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "diverged": TrialState.PRUNED,
        "diagnosed": TrialState.PRUNED,
    }
    state = states.get(record.state, TrialState.RUNNING)
    trial = create_trial(
        state=state,
        params={name: record.params[name] for name in recall.distributions},
        distributions=recall.distributions,
        value=record.score if state is TrialState.COMPLETE else None,
        intermediate_values={p.step: p.best for p in record.curve if p.best is not None},
        user_attrs={
            "trial": record.number,
            "baseline": record.baseline or "",
            "state": record.state,
        },
    )
    if record.ended:
        broken = record.state in ("diverged", "diagnosed")
        trial.set_constraint("diverged", 1.0 if broken else 0.0)
    return trial


def project(space: SearchSpace, ledger: Ledger, folder: Path) -> None:
    """Bring the study file beside the ledger up to date, for Optuna's own tools.

    It holds trials that have ended, and nothing else, so there is nothing in it that could be left
    hanging.
    """
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.sqlite'}")
    study = optuna.create_study(
        study_name=folder.name, storage=storage, direction="minimize", load_if_exists=True
    )
    there = {t.user_attrs["trial"] for t in study.get_trials(deepcopy=False)}
    for record in ledger.records:
        if record.ended and record.state != "failed" and record.number not in there:
            study.add_trial(frozen(space, record))
    storage.engine.dispose()
