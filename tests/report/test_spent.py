"""What a budget buys, and what cannot be had both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.report import front, spent
from sweeper.report.ranking import load

from .folders import Make, trial
from .test_page import check

SCORED = st.lists(
    st.tuples(st.integers(1, 50), st.one_of(st.just(math.inf), st.floats(1, 100))),
    min_size=1,
    max_size=12,
)


@given(SCORED)
def test_a_band_falls_with_the_budget_and_holds_its_median(scored) -> None:
    costs, scores = (np.array(column, float) for column in zip(*scored, strict=True))
    found = spent.resampled(costs, scores)
    if found is None:
        return
    assert np.isfinite(found.high).all()
    assert (found.low <= found.median).all()
    assert (found.median <= found.high).all()
    for line in (found.low, found.median, found.high):
        assert (np.diff(line) <= 0).all()
        assert set(line) <= set(scores)


def test_a_band_is_that_of_the_least_of_so_many_draws() -> None:
    """The least of k draws is above the q-th quantile as often as (1 - q)^k."""
    scores = np.arange(1.0, 101.0)
    found = spent.resampled(np.ones(100), scores)
    assert found is not None
    for at in (10, 30):
        i = int(np.argmin(np.abs(found.images - at)))
        k = math.floor(found.images[i])
        assert found.median[i] == pytest.approx(100 * (1 - 0.5 ** (1 / k)), rel=0.2, abs=1)


def test_too_few_trials_have_no_band(make: Make) -> None:
    folder = make([trial(9.0), trial(8.0), trial(state="failed"), trial(7.0, baseline="b")])
    assert spent.band(load(folder)) is None
    assert "What a budget buys" not in check(folder).text


def test_the_page_draws_what_a_budget_buys(make: Make) -> None:
    runs = [trial(*(20.0 - n,) * (1 + n % 3)) for n in range(8)]
    page = check(make([trial(30, 25.0, baseline="DCGAN default"), *runs]))
    assert "What a budget buys" in page.text


POINT = st.fixed_dictionaries(
    {"score": st.integers(1, 4), "seconds": st.integers(1, 4), "metric.recall": st.integers(0, 3)}
)


@given(st.lists(POINT, max_size=12))
def test_a_front_is_what_nothing_beats(rows: list[dict[str, Any]]) -> None:
    def beats(a: dict[str, Any], b: dict[str, Any]) -> bool:
        gains = (b["score"] - a["score"], b["seconds"] - a["seconds"])
        gains += (a["metric.recall"] - b["metric.recall"],)
        return min(gains) >= 0 and max(gains) > 0

    found = front.front(rows, ["seconds", "metric.recall"])
    assert found == [row for row in rows if not any(beats(other, row) for other in rows)]
    assert bool(found) == bool(rows)


def test_the_page_lists_the_front_of_trials_that_ran_to_the_end(make: Make) -> None:
    fast, slow, worse = trial(9, 9.0), trial(9, 9, 7.0), trial(9, 9, 9, 8.0)
    folder: Path = make([fast, slow, worse, trial(1.0, state="stopped")])
    found = front.shown(load(folder))
    assert found is not None
    assert found["titles"] == ["worker seconds"]
    assert [row["trial"]["trial"] for row in found["rows"]] == [1, 0]
    assert "What cannot be had both" in check(folder).text
