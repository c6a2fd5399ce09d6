"""What a sweep runs, in which order: baselines, design, search, and the best on fresh seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.ledger.ledger import Event, Record
from sweeper.space.document import Confirm, Search
from sweeper.space.space import SearchSpace, load
from sweeper.sweep.agenda import Agenda, Due, best

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load(SPACES / "ttur.yaml", overrides=["budget.max=9"], data={"digits": {}})


def agenda(space: SearchSpace, search: dict[str, Any], top: int, seeds: int = 3) -> Agenda:
    search = {"balanced": 0.0, **search}
    confirm = Confirm(top=top, seeds=seeds)
    return Agenda(replace(space, search=Search(**search), confirm=confirm), search["trials"])


def made(due: Due, records: list[Record], score: float | None, state: str | None) -> Record:
    """A trial that was due, as it ended, or under way."""
    number = len(records)
    name = "DCGAN default" if due.role == "baseline" else None
    record = Record(number, name, {}, {}, 0.0, role=due.role, of=due.of)
    seq = 2 * number
    if score is not None:
        record.add(Event(seq, number, 1, "measured", 1, score, None, {"best": score}, 0.0))
    if state is not None:
        record.add(Event(seq + 1, number, 1, "ended", 1, score, state, {}, 0.0))
    return record


def test_the_best_and_the_baseline_are_confirmed_seed_by_seed(space: SearchSpace) -> None:
    order, records = agenda(space, {"trials": 6, "balanced": 0.4}, top=2), list[Record]()
    scores = [50.0, 9.0, 3.0, 1.0, 4.0, 2.0]
    left = [sum(order.ahead(records).values())]
    while (due := order.due(records)) is not None:
        number = len(records)
        broken = number == 3  # the best score of all, from a trial that broke
        score = scores[number] if number < 6 else 100.0
        records.append(made(due, records, score, "diverged" if broken else "stopped"))
        left.append(sum(order.ahead(records).values()))
    assert left == list(range(order.runs, -1, -1))
    roles = [record.role for record in records[:6]]
    assert roles == ["baseline", "balanced", "balanced", "search", "search", "search"]
    assert [(r.role, r.of) for r in records[6:]] == [
        ("confirm", of) for of in (5, 2, 0, 5, 2, 0, 5, 2)
    ]
    assert len(records) == order.runs
    assert all(record.whole for record in records if record.role in ("baseline", "confirm"))


def test_who_may_yet_not_be_among_the_best_is_not_confirmed(space: SearchSpace) -> None:
    order, records = agenda(space, {"trials": 2}, top=1), list[Record]()
    for score in (3.0, 2.0):
        due = order.due(records)
        assert due is not None
        records.append(made(due, records, score, "completed"))
    open_trial = Record(1, None, {}, {}, 0.0)
    begun = [records[0], open_trial]
    for index in range(2):  # the baseline is confirmed whatever comes
        due = order.due(begun)
        assert due == Due("confirm", 0, index)
        begun.append(made(due, begun, 3.0, "completed"))
    assert order.due(begun) is None
    assert order.due(records) == Due("confirm", 1, 0)


@given(
    scores=st.lists(st.sampled_from([1.0, 2.0, 3.0, None]), min_size=3, max_size=8),
    top=st.integers(1, 4),
    open_=st.sets(st.integers(0, 7), max_size=3),
    ends=st.lists(st.sampled_from([0.5, 1.0, 2.5, None]), min_size=3, max_size=3),
)
def test_who_is_confirmed_early_is_among_the_best_in_the_end(
    space: SearchSpace,
    scores: list[float | None],
    top: int,
    open_: set[int],
    ends: list[float | None],
) -> None:
    order = agenda(space, {"trials": len(scores)}, top)

    def searched(known: Sequence[float | None], open_: Collection[int]) -> list[Record]:
        found = list[Record]()
        for number, score in enumerate(known):
            due = Due("baseline") if number == 0 else Due("search", index=number)
            ended = "diverged" if score is None else "completed"
            found.append(made(due, found, score, None if number in open_ else ended))
        return found

    early = searched(scores, open_)
    confirmed = set[int]()
    while (due := order.due(early)) is not None:
        assert due.of is not None
        confirmed.add(due.of)
        early.append(made(due, early, 1.0, "completed"))
    final = list(scores)
    for number, score in zip(sorted(n for n in open_ if n < len(scores)), ends, strict=False):
        final[number] = None if score is None else min(score, scores[number] or score)
    sure = best(searched(final, ()), top)
    assert confirmed <= {0, *sure}
    if not open_:
        assert confirmed == {0, *sure}


@pytest.mark.parametrize(
    ("trials", "seeds", "top"), [(1, 1, 2), (1, 3, 2), (3, 3, 2), (3, 3, 0), (4, 1, 2)]
)
def test_what_is_ahead_is_what_is_made_then(
    space: SearchSpace, trials: int, seeds: int, top: int
) -> None:
    """With the last trial of the search under way until nothing else is to be done, too."""
    order = agenda(space, {"trials": trials, "seeds": seeds}, top, seeds=2)
    records, last = list[Record](), trials * seeds - 1
    while (due := order.due(records)) is not None:
        records.append(made(due, records, 1.0, None if len(records) == last else "completed"))
        assert len(records) + sum(order.ahead(records).values()) == order.runs
    records[last].add(Event(99, last, 1, "ended", 1, 1.0, "completed", {}, 0.0))
    while (due := order.due(records)) is not None:
        records.append(made(due, records, 1.0, "completed"))
        assert len(records) + sum(order.ahead(records).values()) == order.runs
    assert len(records) == order.runs


def test_each_trial_is_run_on_so_many_seeds_and_ranked_by_their_mean(space: SearchSpace) -> None:
    order, records = agenda(space, {"trials": 3, "seeds": 2}, top=1, seeds=2), list[Record]()
    scores = iter([9.0, 9.0, 1.0, 100.0, 5.0, 5.0, 7.0, 7.0])
    while (due := order.due(records)) is not None:
        records.append(made(due, records, next(scores), "completed"))
    assert [(r.role, r.of) for r in records[:6]] == [
        ("baseline", None), ("repeat", 0), ("search", None), ("repeat", 2), ("search", None),
        ("repeat", 4),
    ]  # fmt: skip
    assert [(r.role, r.of) for r in records[6:]] == [("confirm", 4), ("confirm", 4)]
    assert order.runs == len(records)


def test_a_sweep_that_was_extended_confirms_who_is_new_among_the_best(space: SearchSpace) -> None:
    records = list[Record]()
    for trials, score in ((2, 5.0), (3, 1.0)):
        order = agenda(space, {"trials": trials}, top=1, seeds=2)
        while (due := order.due(records)) is not None:
            records.append(made(due, records, score, "completed"))
    assert [(r.role, r.of) for r in records[2:]] == [
        ("confirm", 1), ("confirm", 0), ("confirm", 1), ("search", None), ("confirm", 5),
        ("confirm", 5),
    ]  # fmt: skip
