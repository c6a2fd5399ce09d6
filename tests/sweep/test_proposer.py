"""Proposals: a function of the ledger, whatever the proposer remembers."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.config import Misfit, Problem
from sweeper.game import derive
from sweeper.ledger.ledger import Event, Record
from sweeper.space.points import Point, sobol
from sweeper.space.space import SearchSpace
from sweeper.sweep import proposer
from sweeper.sweep.agenda import Agenda, Due
from sweeper.sweep.proposer import Proposal, Proposer, Shown, frozen, rank, sampler
from tests.sweep.plans import small

STATES = ("completed", "stopped", "diverged", "diagnosed", "failed", "running", "pending")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return small(tmp_path_factory.mktemp("out")).space


def of_method(space: SearchSpace, method: str) -> SearchSpace:
    return replace(space, search=space.search.model_copy(update={"method": method}))


def fits(trial: Any) -> None:
    """Whatever was drawn is well."""


class History:
    """A sweep whose trials come, go on and end as drawn."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.seq = 0

    def add(self, proposed: Proposal) -> None:
        params, trial, baseline = proposed.params, proposed.trial, proposed.baseline
        number = len(self.records)
        self.records.append(Record(number, baseline, dict(params), trial.plain(), 0.0))

    def go_on(self, number: int, end: str, values: list[float]) -> None:
        """Give a trial its measurements, if it has not ended, and perhaps an end."""
        record = self.records[number]
        if record.ended or end == "pending":
            return
        self._tell(record, "started")
        best = min([*values, *(p.best for p in record.curve if p.best is not None)])
        for value in values:
            self._tell(record, "measured", record.step + 100, value, data={"best": best})
        if end != "running":
            self._tell(record, "ended", record.step, record.score, end, {"reason": end})

    def _tell(
        self,
        record: Record,
        kind: Any,
        step: int = 0,
        value: float | None = None,
        decision: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        self.seq += 1
        attempt = record.attempts or 1
        record.add(
            Event(self.seq, record.number, attempt, kind, step, value, decision, data or {}, 0.0)
        )


def plainly(space: SearchSpace, records: list[Record], at_most: int) -> dict[str, Any]:
    """The next parameters as Optuna proposes them whose study is made anew, trial by trial."""
    study = optuna.create_study(direction="minimize")
    for record in Shown(at_most).of(records):
        study.add_trial(frozen(space, record))
    for attempt in range(proposer.ATTEMPTS):
        study.sampler = sampler(space.search.method, derive(3, len(records), attempt))
        asked = study.ask()
        try:
            space.sample(asked)
        except Misfit:
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
            continue
        return dict(asked.params)
    raise AssertionError("nothing fits")


steps = st.tuples(
    st.integers(0, 30), st.sampled_from(STATES), st.lists(st.floats(0, 100), min_size=1, max_size=3)
)


@pytest.mark.parametrize("method", ["random", "tpe"])
@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, min_size=20, max_size=26))
def test_what_is_remembered_changes_no_proposal(
    method: str, space: SearchSpace, drawn: list[tuple[int, str, list[float]]]
) -> None:
    """A proposer that has been there all the time, one that is made anew, and a plain study of
    Optuna's propose the same, also when not all trials are shown."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proposer, "SHOWN", 14)
        patched.setattr(proposer, "VALUES", 1_000_000)
        searched, history = of_method(space, method), History()
        old = Proposer(searched, fits, 3)
        for number, (which, end, values) in enumerate(drawn):
            due = Agenda(searched, 1000).due(history.records)
            assert due is not None
            proposed = old.propose(due, history.records)
            assert proposed == Proposer(searched, fits, 3).propose(due, history.records)
            if number >= len(searched.baselines):
                assert proposed.params == plainly(searched, history.records, 14)
            history.add(proposed)
            history.go_on(which % len(history.records), end, values)


@settings(
    deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_sequence_goes_on_where_it_stood(space: SearchSpace, restarts: list[bool]) -> None:
    """Whatever did not fit in between, and however often it is begun anew, each point that fits is
    proposed once, in the order of the sequence."""

    def picky(trial: Any) -> None:
        if "hinge" in trial.plain()["loss"]:
            raise Misfit([Problem(("loss",), "no hinge here")])

    def walked(point: Point) -> Point:
        searched.walk(point)
        return point

    searched, history = of_method(space, "sobol"), History()
    made = Proposer(searched, picky, 3)
    for restarted in restarts:
        made = Proposer(searched, picky, 3) if restarted else made
        proposed = made.propose(Due("search"), history.records)
        assert proposed == made.propose(Due("search"), history.records)
        history.add(proposed)
    points = islice(sobol(searched.tree, derive(3, "sobol")), 60)
    fitting = [point.params for point in map(walked, points) if point.params["loss"] != "hinge"]
    assert [record.params for record in history.records] == fitting[:12]


def test_a_row_of_the_design_that_breaks_a_law_is_drawn_anew(space: SearchSpace) -> None:
    """The others stay balanced, and a proposer that is made anew proposes the same."""

    def picky(trial: Any) -> None:
        if "hinge" in trial.plain()["loss"]:
            raise Misfit([Problem(("loss",), "no hinge here")])

    history = History()
    for number in range(12):
        proposed = Proposer(space, picky, 3).propose(Due("balanced"), history.records)
        assert proposed == Proposer(space, picky, 3).propose(Due("balanced"), history.records)
        history.add(proposed)
        history.records[number].role = "balanced"
    losses = [record.params["loss"] for record in history.records]
    assert sorted(map(losses.count, set(losses))) == [6, 6]
    assert "hinge" not in losses


def test_no_more_is_remembered_than_is_shown(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposer, "SHOWN", 10)
    history, old = History(), Proposer(of_method(space, "tpe"), fits, 3)
    source = random.Random(0)
    for number in range(40):
        history.add(old.propose(Due("search"), history.records))
        history.go_on(number, source.choice(STATES[:4]), [source.random()])
        assert len(old.remembered) <= 10


def test_of_too_many_the_best_the_first_and_the_latest_are_shown() -> None:
    history = History()
    for number in range(100):
        history.records.append(Record(number, None, {}, {}, 0.0))
        history.go_on(number, "failed" if number == 99 else "completed", [float(50 - number) ** 2])
    kept = [r.number for r in Shown(20).of(history.records)]
    assert kept == [*range(5), *range(45, 55), *range(94, 99)]
    assert len(Shown(20).of(history.records[:20])) == 20


@settings(deadline=None)
@given(st.lists(steps, max_size=60), st.integers(4, 20))
def test_what_is_shown_is_the_same_however_long_one_has_looked_on(
    drawn: list[tuple[int, str, list[float]]], at_most: int
) -> None:
    """Whoever saw all trials come and end shows those that a look at all of them shows."""
    history, old = History(), Shown(at_most)
    for number, (which, end, values) in enumerate(drawn):
        history.records.append(Record(number, None, {}, {}, 0.0))
        history.go_on(which % len(history.records), end, values)
        learnt = [r for r in history.records if r.state != "failed"]
        half, quarter = at_most // 2, at_most // 4
        picked = sorted(learnt, key=rank)[:half]
        picked += learnt[:quarter] + learnt[half + quarter - at_most :]
        few = len(learnt) <= at_most
        expected = learnt if few else [r for r in learnt if r in picked]
        assert old.of(history.records) == expected
