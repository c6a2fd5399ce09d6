"""Balanced designs: every option equally often among the rows that come to it, ranges filled
evenly, choices not mistaken for one another."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.space.balance import Row
from sweeper.space.holes import Choice, Float, Int, Maybe, fill, holes

TREE = {
    "lr": Float(1e-4, 1e-2, log=True),
    "beta": Float(0.0, 0.9, step=0.3),
    "width": Int(8, 64, log=True),
    "d_steps": Int(1, 3),
    "penalty": Maybe({"gamma": Float(0.1, 10.0), "every": Choice((1, 16), (1, 16))}),
    "loss": Choice(
        ("a", "b", "c"),
        ({"a": {"coding": Choice(("x", "y"), ("x", "y"))}}, {"b": {}}, {"c": {}}),
    ),
}


def design(n: int, seed: int, tree: Any = TREE) -> list[dict[str, Any]]:
    rows = list[dict[str, Any]]()
    for number in range(n):
        row = Row(rows, random.Random(f"{seed} {number}"))
        fill(tree, row)
        rows.append(row.params)
    return rows


@given(st.integers(0, 60), st.integers(0, 1000))
def test_every_option_stands_equally_often_among_the_rows_that_come_to_it(
    n: int, seed: int
) -> None:
    rows = design(n, seed)
    for name, hole in holes(TREE):
        came = [row[name] for row in rows if name in row]
        options = hole.describe().get("choices") or (hole.values() if not hole.log else None)  # type: ignore[union-attr]
        if options is not None:
            counts = [came.count(option) for option in options]
            assert max(counts) - min(counts) <= 1


@given(st.integers(0, 60), st.integers(0, 1000))
def test_ranges_are_filled_evenly_among_the_rows_that_come_to_them(n: int, seed: int) -> None:
    rows = design(n, seed)
    for name, hole in holes(TREE):
        if isinstance(hole, Float) and hole.step is None:
            shares = [hole.share(row[name]) for row in rows if name in row]
            lower = sum(share < 0.5 for share in shares)
            assert abs(2 * lower - len(shares)) <= 1
            cells = Counter(int(share * 4) for share in shares)
            assert max(cells.values(), default=0) - min(cells[i] for i in range(4)) <= 2


@pytest.mark.parametrize("power", [1, 2, 3, 4, 5, 6])
def test_two_to_any_power_of_rows_are_a_latin_hypercube(power: int) -> None:
    rows = design(2**power, seed=power)
    lr = dict(holes(TREE))["lr"]
    assert isinstance(lr, Float)
    assert sorted(int(lr.share(row["lr"]) * 2**power) for row in rows) == [*range(2**power)]


def test_choices_are_not_mistaken_for_one_another() -> None:
    tree = {key: Choice(tuple(options), tuple(options)) for key, options in
            {"a": "xy", "b": "uvw", "c": "pq"}.items()}  # fmt: skip
    for seed in range(20):
        rows = design(12, seed, tree)
        for one, other, times in (("a", "b", 2), ("a", "c", 3), ("b", "c", 2)):
            pairs = Counter((row[one], row[other]) for row in rows)
            assert max(pairs.values()) - min(pairs.values()) <= 2, (one, other, pairs)
            assert len(pairs) * times == 12


@given(st.integers(0, 12))
def test_slack_lets_any_option_be_chosen(slack: int) -> None:
    tree = {"a": Choice(("x", "y"), ("x", "y"))}
    rows = [{"a": "x"}] * 12
    chosen = set()
    for seed in range(40):
        row = Row(rows, random.Random(seed), slack)
        fill(tree, row)
        chosen.add(row.params["a"])
    assert chosen == ({"x", "y"} if slack == 12 else {"y"})
