"""Whatever small space is written down, its draws are trials that survive being written down."""

from __future__ import annotations

import io
import json
import random
from itertools import islice
from typing import Any

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from ruamel.yaml import YAML

from sweeper.catalog import families as of
from sweeper.config import Misfit, Slot, Trial
from sweeper.game import derive
from sweeper.registry import Entry, Integers, LogUniform, Options, Uniform
from sweeper.space.balance import Row
from sweeper.space.draw import Draw
from sweeper.space.grid import grid, size, unlisted
from sweeper.space.holes import holes as all_holes
from sweeper.space.merge import slots
from sweeper.space.points import sobol
from sweeper.space.source import Source
from sweeper.space.space import SearchSpace, _compile
from sweeper.sweep.proposer import Recall

optuna.logging.set_verbosity(optuna.logging.ERROR)


@st.composite
def holes(draw: st.DrawFn, advised: Any) -> Any:
    """A constant, ``auto``, or a hole within what a signature recommends."""
    match advised:
        case Options(values):
            some = draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
            return draw(st.sampled_from(["auto", some[0], {"choice": some}]))
        case Integers(low, high):
            return draw(
                st.sampled_from(["auto", low, {"int": [low, high]}, {"logint": [low, high]}])
            )
        case Uniform(low, high) | LogUniform(low, high):
            log = {"loguniform": [low, high]} if low > 0 else "auto"
            return draw(st.sampled_from(["auto", high, {"uniform": [low, high]}, log]))


@st.composite
def techniques(draw: st.DrawFn, entry: Entry[Any]) -> dict[str, Any]:
    """A technique with some of its knobs set or searched."""
    advised = {k: r for k in entry.knobs.model_fields if (r := entry.recommended(k))}
    chosen = draw(st.lists(st.sampled_from(sorted(advised)), unique=True)) if advised else []
    return {entry.name: {knob: draw(holes(advised[knob])) for knob in chosen}}


@st.composite
def places(draw: st.DrawFn, slot: Slot) -> Any:
    """A slot filled with a technique or a hole, or left empty where it may be."""
    names = draw(
        st.lists(st.sampled_from(list(slot.registry)), min_size=1, max_size=3, unique=True)
    )
    options = [draw(techniques(slot.registry[name])) for name in names]
    if slot.holds == "many":
        known = {name: knobs for option in options for name, knobs in option.items()}
        return {n: {"maybe": known[n]} if draw(st.booleans()) else known[n] for n in names}
    if slot.holds == "one or none" and draw(st.booleans()):
        return draw(st.sampled_from([False, {"maybe": options[0]}, {"choice": [*options, False]}]))
    return options[0] if len(options) == 1 else {"choice": options}


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    trial: dict[str, Any] = {"data": "digits", "batch": {"size": draw(holes(Options((8, 16))))}}
    for path, slot in slots().items():
        if slot.registry not in (of.datasets, of.diagnostics, of.metrics):
            node = trial
            for key in path[1:-1]:
                node = node.setdefault(str(key), {})
            node[str(path[-1])] = draw(places(slot))
    return {"trial": trial, "budget": {"max": 9.0}}


def sampled(space: SearchSpace, seed: int) -> list[tuple[dict[str, Any], Trial | str]]:
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    drawn: list[tuple[dict[str, Any], Trial | str]] = []
    for _ in range(4):
        asked = study.ask()
        try:
            drawn.append((asked.params, space.sample(asked)))
        except Misfit as misfit:
            drawn.append((asked.params, str(misfit)))
    return drawn


@settings(max_examples=60)
@given(tree=spaces(), seed=st.integers(0, 100))
def test_draws_of_any_space(tree: dict[str, Any], seed: int) -> None:
    space = _compile(Source(tree, {}))
    names = [parameter["name"] for parameter in space.parameters]
    assert len(names) == len(set(names))
    drawn = sampled(space, seed)
    assert sampled(space, seed) == drawn
    for params, trial in drawn:
        assert params.keys() <= set(names)
        if isinstance(trial, Trial):
            text = io.StringIO()
            YAML(typ="safe").dump(trial.plain(), text)
            assert Trial.read(YAML(typ="safe").load(text.getvalue())) == trial
            assert Trial.read(json.loads(json.dumps(trial.plain()))) == trial


def drawn_otherwise(space: SearchSpace, seed: int) -> list[Draw]:
    """Points of a Sobol sequence, rows of a balanced design and, where there is one, of a grid."""
    found: list[Draw] = list(islice(sobol(space.tree, seed), 4))
    rows: list[dict[str, Any]] = []
    for number in range(4):
        row = Row(rows, random.Random(derive(seed, number)))
        space.walk(row)
        rows.append(row.params)
        found.append(row)
    if not list(unlisted(space.tree)) and size(space.tree) < 1000:
        found += islice(grid(space.tree, seed), 4)
    for draw in found:
        if not isinstance(draw, Row):  # which draws anew whenever it is asked
            space.walk(draw)
    return found


@settings(max_examples=15)
@given(tree=spaces(), seed=st.integers(0, 100))
def test_every_way_to_draw_has_the_parameters_of_its_branches(
    tree: dict[str, Any], seed: int
) -> None:
    """Whatever draws, what it gave is all that is asked for, under the same seed the same again,
    and within what is searched."""
    space = _compile(Source(tree, {}))
    searched = dict(all_holes(space.tree))
    for draw, again in zip(drawn_otherwise(space, seed), drawn_otherwise(space, seed), strict=True):
        assert draw.params == again.params
        recalled = Recall(draw.params)
        space.walk(recalled)
        assert recalled.distributions.keys() == draw.params.keys() <= searched.keys()


@settings(max_examples=30)
@given(tree=spaces())
def test_a_space_survives_being_written_down(tree: dict[str, Any]) -> None:
    text = io.StringIO()
    YAML(typ="safe").dump(tree, text)
    again = YAML(typ="safe").load(text.getvalue())
    assert _compile(Source(again, {})).tree == _compile(Source(tree, {})).tree
