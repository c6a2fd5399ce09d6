"""Proposals: Optuna fills the holes of the search space, and is told what became of each trial."""

from __future__ import annotations

import random
import warnings
from bisect import insort
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.config import Misfit, Trial
from sweeper.game import derive
from sweeper.ledger.ledger import Ledger, Record
from sweeper.space.ablation import taken_back
from sweeper.space.balance import Row
from sweeper.space.grid import grid
from sweeper.space.holes import Suggester
from sweeper.space.points import sobol
from sweeper.space.space import SearchSpace
from sweeper.sweep.agenda import Ablation, Due
from sweeper.sweep.objectives import POPULATION, directions, in_generations, values
from sweeper.sweep.series import Series

optuna.logging.set_verbosity(optuna.logging.ERROR)

SHOWN = 150
"""TPE's time per proposal grows with the trials it is shown; beyond these it learns little."""
VALUES = 1800
"""It grows with their parameters, too, so of many parameters fewer trials are shown."""
ATTEMPTS = 200
PATIENCE = 20
"""Rows of a balanced design are drawn anew so often before they may be less balanced."""


Drawn = tuple[Mapping[str, Any], Trial]
"""Parameters, and the trial that they make."""


class ExhaustedError(RuntimeError):
    """So many draws in a row broke a law that there is no use in going on."""


@dataclass(frozen=True)
class Proposal:
    """A trial that is to be run, the parameters it was made from, and the baseline it is, if it is
    one."""

    due: Due
    params: Mapping[str, Any]
    trial: Trial
    baseline: str | None = None


@dataclass
class Proposer:
    """Draws trials from a space. What it proposes is a function of the ledger, and of what an
    ``earlier`` sweep found, so it is made anew at every start; what it remembers of trials only
    saves the making of them again."""

    space: SearchSpace
    probe: Callable[[Trial], None]
    seed: int
    earlier: Sequence[Record] = ()
    ablation: Ablation | None = None
    rejected: dict[str, int] = field(default_factory=dict)
    remembered: dict[int, tuple[int, FrozenTrial]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_most = min(SHOWN, VALUES // max(len(self.space.parameters), 1))
        past = sorted(self.earlier, key=rank)[: at_most // 2]
        self._past = [frozen(self.space, record) for record in past]
        for number, trial in enumerate(self._past, ATTEMPTS):
            trial.number = number
        self._shown = Shown(at_most - len(past))
        method, tree = self.space.search.method, self.space.tree
        points, seed = grid if method == "grid" else sobol, derive(self.seed, method)
        self._series = Series(self.space, lambda: points(tree, seed))

    def propose(self, due: Due, records: Sequence[Record]) -> Proposal:
        """The trial that is due, given all trials so far. Raises ExhaustedError when no draw
        fits."""
        params, trial = self._drawn(due, records)
        seed = derive(self.seed, "trial", len(records)) % (1 << 31)
        name = self.space.baselines[due.index].name if due.role == "baseline" else None
        return Proposal(due, params, trial.model_copy(update={"seed": seed}), name)

    def _drawn(self, due: Due, records: Sequence[Record]) -> Drawn:
        match due:
            case Due("ablation", of=int(of), index=index):
                return self._taken_back(records[of], index)
            case Due(of=int(of)):
                return records[of].params, Trial.read(records[of].config)
            case Due("baseline", index=index):
                return self.space.baseline(self.space.baselines[index])
            case Due("search", index=index) if index < len(self.space.given):
                return self.space.baseline(self.space.given[index])
            case Due("balanced"):
                return self._row(records)
        if self.space.search.method in ("grid", "sobol"):
            return self._next(records)
        return self._asked(records)

    def _taken_back(self, record: Record, index: int) -> Drawn:
        """A trial with a choice taken back."""
        assert self.ablation is not None
        base = next(b for b in self.space.baselines if b.name == self.ablation.baseline)
        return taken_back(self.space, record.params, base, self.ablation.path(index))

    def _row(self, records: Sequence[Record]) -> Drawn:
        """The next row of the balanced design."""
        rows = [record.params for record in records if record.role == "balanced"]
        for attempt in range(ATTEMPTS):
            source = random.Random(derive(self.seed, "balanced", len(records), attempt))
            row = Row(rows, source, slack=attempt // PATIENCE)
            if (trial := self._made(row)) is not None:
                return row.params, trial
        raise self._exhausted()

    def _next(self, records: Sequence[Record]) -> Drawn:
        """The next point of the sequence."""
        ran = [record.params for record in records if record.role == "search"]
        ran = ran[len(self.space.given) :]
        whole = self.space.search.method == "grid"
        found = self._series.next(ran, self._made, attempts=None if whole else ATTEMPTS)
        if found is None and whole:
            raise ExhaustedError(f"the grid is complete: {len(ran)} trials")
        if found is None:
            raise self._exhausted()
        point, trial = found
        return point.params, trial

    def _asked(self, records: Sequence[Record]) -> Drawn:
        """What a sampler of Optuna's proposes."""
        study = self._study(records)
        for attempt in range(ATTEMPTS):
            seed = derive(self.seed, len(records), attempt)
            study.sampler = sampler(self.space.search.method, seed)
            asked = study.ask()
            if (trial := self._made(asked)) is not None:
                return dict(asked.params), trial
            study.tell(asked, state=TrialState.FAIL)
        raise self._exhausted()

    def _made(self, suggester: Suggester) -> Trial | None:
        """The trial of a draw; None, which is counted, if it breaks a law."""
        try:
            trial = self.space.sample(suggester)
            self.probe(trial)
        except Misfit as misfit:
            for problem in misfit.problems:
                self.rejected[problem.law] = self.rejected.get(problem.law, 0) + 1
            return None
        return trial

    def _exhausted(self) -> ExhaustedError:
        reasons = "; ".join(f"{law} ({n} times)" for law, n in self.rejected.items())
        return ExhaustedError(f"{ATTEMPTS} draws in a row did not fit: {reasons}")

    def _study(self, records: Sequence[Record]) -> optuna.Study:
        if self.space.search.method == "random":
            return random_study(0)
        if self.space.search.method == "nsga2":
            return self._evolving(records)
        kept = {r.number: self._remembered(r) for r in self._shown.of(records)}
        self.remembered = kept
        storage = Past([*self._past, *(trial for _, trial in kept.values())])
        return optuna.create_study(storage=storage, direction="minimize")

    def _evolving(self, records: Sequence[Record]) -> optuna.Study:
        """All trials so far in generations."""
        ended = [record for record in usable(records) if record.ended]
        trials = list(self._past)
        for record in sorted(ended, key=lambda r: r.last.seq if r.last else 0):
            trials.append(frozen(self.space, record))
            trials[-1].number = ATTEMPTS + len(self._past) + record.number
        past = Past(in_generations(trials))
        return optuna.create_study(storage=past, directions=directions(self.space.objective))

    def _remembered(self, record: Record) -> tuple[int, FrozenTrial]:
        """A trial as Optuna is to see it, made once for all that happened to it so far."""
        seq = record.last.seq if record.last is not None else 0
        known = self.remembered.get(record.number)
        if known is not None and known[0] == seq:
            return known
        trial = frozen(self.space, record)
        # Draws that did not fit are trials, too, and come first in number.
        trial.number = ATTEMPTS + len(self._past) + record.number
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
    if method == "nsga2":
        return NSGAIISampler(seed=seed, population_size=POPULATION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed, multivariate=True, group=True, n_startup_trials=8, constant_liar=True
        )


class Shown:
    """The trials that a sampler is shown: all, or the best half, the latest and the first of too
    many. None of them failed.

    A trial that has ended is ranked once, so that a proposal late in a sweep takes no longer than
    an early one.
    """

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self._open: list[Record] = []
        self._seen = self._failed = 0
        self._best: list[tuple[bool, float, int]] = []

    def of(self, records: Sequence[Record]) -> list[Record]:
        """Those of all trials so far, by number."""
        best = self._ranked(records)
        if len(records) - self._failed <= self.at_most:
            return list(usable(records))
        quarter = self.at_most // 4
        first = islice(usable(records), quarter)
        latest = islice(usable(reversed(records)), self.at_most - len(best) - quarter)
        numbers = {*best, *(r.number for r in first), *(r.number for r in latest)}
        return [records[number] for number in sorted(numbers)]

    def _ranked(self, records: Sequence[Record]) -> list[int]:
        """The numbers of the best trials so far, best first."""
        half = self.at_most // 2
        asked = [*self._open, *records[self._seen :]]
        self._seen = len(records)
        self._open = [r for r in asked if not r.ended]
        for record in asked:
            if record.state == "failed":
                self._failed += 1
            elif record.ended:
                insort(self._best, rank(record))
        del self._best[half:]
        ranks = sorted([*self._best, *map(rank, self._open)])
        return [number for _, _, number in ranks[:half]]


def usable(records: Iterable[Record]) -> Iterator[Record]:
    """The trials that there is something to learn from."""
    return (r for r in records if r.state != "failed")


def rank(record: Record) -> tuple[bool, float, int]:
    """What trials are sorted by: the best first, those without a score last."""
    return record.score is None, record.score or 0.0, record.number


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

    Stopped trials are PRUNED with their intermediate values, unless they had converged. Those that
    diverged or failed a diagnosis are PRUNED and break a constraint, which ranks them last: FAIL is
    ignored by TPE, and a made-up value would be learnt from.
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
    if record.converged:
        state = TrialState.COMPLETE
    found = values(space.objective, record)
    if state is TrialState.COMPLETE and found is None:  # not all of it was measured
        state = TrialState.PRUNED
    trial = create_trial(
        state=state,
        params={name: record.params[name] for name in recall.distributions},
        distributions=recall.distributions,
        values=found if state is TrialState.COMPLETE else None,
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
        study_name=folder.name,
        storage=storage,
        directions=directions(space.objective),
        load_if_exists=True,
    )
    there = {t.user_attrs["trial"] for t in study.get_trials(deepcopy=False)}
    for record in ledger.records:
        if record.ended and record.state != "failed" and record.number not in there:
            study.add_trial(frozen(space, record))
    storage.engine.dispose()
