"""What every entry of the catalog declares."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from sweeper.catalog import families as of
from sweeper.catalog.aliases import ALIASES
from sweeper.config import Trial
from sweeper.registry import Entry, Integers, LogUniform, Options, Recommended, Uniform
from tests.contracts.cases import CASES, ENTRIES, Case, every_case, every_entry

BIBLIOGRAPHY = files("sweeper.catalog").joinpath("papers.bib").read_text("utf-8")
PAPERS = dict(re.findall(r"^@\w+\{(\w+),\n(.*?)^\}$", BIBLIOGRAPHY, re.MULTILINE | re.DOTALL))


def ends(recommended: Recommended) -> tuple[Any, ...]:
    match recommended:
        case Options(values):
            return values
        case Uniform(low, high) | LogUniform(low, high) | Integers(low, high):
            return low, high


def within(value: Any, recommended: Recommended) -> bool:
    match recommended:
        case Options(values):
            return value in values
        case Uniform(low, high) | LogUniform(low, high) | Integers(low, high):
            return bool(low <= value <= high)


def optional(entry: Entry[Any], knob: str) -> bool:
    """Whether a knob may be left out, as it is by default: then it is of no number."""
    return entry.knobs.model_fields[knob].get_default() is None


RANGES = [
    (entry, knob, recommended)
    for entry in ENTRIES
    for knob in entry.knobs.model_fields
    if (recommended := entry.recommended(knob)) is not None
]
every_range = pytest.mark.parametrize(
    ("entry", "knob", "recommended"),
    RANGES,
    ids=[f"{entry.family}.{entry.name}.{knob}" for entry, knob, _ in RANGES],
)


def test_every_family_has_cases() -> None:
    families = {entry.family for entry in ENTRIES}
    # Walks are between latents of a generator that was trained: no part of a trial.
    assert {case.entry.family for case in CASES} == families - {of.walks.family}


@every_entry
def test_says_what_it_does(entry: Entry[Any]) -> None:
    assert re.fullmatch(r"\S.*\.", entry.summary), "the first line is one whole sentence"
    assert len(entry.summary) <= 96


@every_entry
def test_cites_a_paper_of_the_bibliography(entry: Entry[Any]) -> None:
    assert not entry.paper or entry.paper in PAPERS


def test_the_bibliography_holds_what_is_cited_and_no_more() -> None:
    cited = {known.paper for known in (*ENTRIES, *ALIASES.values())}
    assert set(PAPERS) == cited - {""}
    assert len(PAPERS) == BIBLIOGRAPHY.count("@")
    for key, fields in PAPERS.items():
        for name in ("author", "title", "year"):
            assert re.search(rf"^  {name} = \{{.+\}},$", fields, re.MULTILINE), (key, name)
        assert fields.count("{") == fields.count("}"), key
        assert re.search(r"year = \{(\d+)\}", fields)[1] in key  # type: ignore[index]


@every_range
def test_the_default_lies_in_the_recommended_range(
    entry: Entry[Any], knob: str, recommended: Recommended
) -> None:
    default = entry.knobs.model_fields[knob].get_default()
    assert optional(entry, knob) or within(default, recommended)


@every_range
def test_the_ends_of_the_recommended_range_are_allowed(
    entry: Entry[Any], knob: str, recommended: Recommended
) -> None:
    for value in ends(recommended):
        knobs = entry.knobs.model_validate({knob: value})
        assert getattr(knobs, knob) == value
        # True equals 1, but a search must get back what it put in.
        assert isinstance(getattr(knobs, knob), bool) == isinstance(value, bool)


@every_case
def test_its_trial_survives_json(case: Case, trial_of: Callable[[Case], Trial]) -> None:
    trial = trial_of(case)
    assert case.entry.name in json.dumps(trial.plain())
    assert Trial.read(json.loads(json.dumps(trial.plain()))) == trial
    assert Trial.read(trial.plain()).plain() == trial.plain()
