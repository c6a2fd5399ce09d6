"""The JSON Schema says what the loader accepts, as far as a schema can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from sweeper.space.schema import schema
from sweeper.space.source import read
from sweeper.space.space import shipped

FILES = sorted(shipped().rglob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


def test_the_file_is_current():
    """If not: python -m sweeper.space.schema > search_spaces/schema.json"""
    assert json.loads((shipped() / "schema.json").read_text()) == json.loads(json.dumps(schema()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(shipped()).as_posix())
def test_what_ships_is_valid(validator, path: Path):
    assert list(validator.iter_errors(read(path).tree)) == []


def knob(value):
    return {"trial": {"generator": {"optimizer": {"adam": {"lr": value}}}}}


VALID = [
    {"trial": {"loss": "hinge"}},
    {"trial": {"loss": {"choice": ["hinge", {"wasserstein": {}}]}}},
    {"trial": {"tricks": ["ema"], "regularizers": {"r1_penalty": {"maybe": "auto"}}}},
    {"trial": {"tricks": {"ema": False, "instance_noise": {"maybe": {"sigma": "auto"}}}}},
    {"trial": {"discriminator": {"constraint": False}}},
    {"trial": {"batch": {"size": {"int": [8, 64], "step": 8}}}},
    {"budget": {"rungs": {"first": "1/9"}}, "resources": {"gpu": 0.5}},
    *map(
        knob, [1e-3, "auto", {"choice": [1, 2]}, {"loguniform": [1, 2], "ratio_of": "batch.size"}]
    ),
]
BROKEN = [
    {"trail": {}},
    {"trial": {"los": "hinge"}},
    {"trial": {"loss": "hing"}},
    {"trial": {"loss": {"hinge": {"margn": 1}}}},
    {"trial": {"loss": {"hinge": {"margin": 0}}}},
    {"trial": {"loss": {"maybe": "hinge"}}},
    {"trial": {"loss": {"minimax": "auto"}}},
    {"trial": {"loss": {"choice": []}}},
    {"trial": {"seed": {"int": [1, 2]}}},
    {"trial": {"evaluation": {"samples": "auto"}}},
    {"trial": {"batch": {"size": {"uniform": [8, 64]}}}},
    {"trial": {"generator": {"constraint": {"spectral_nrom": {}}}}},
    {"budget": {"rungs": {"first": 2}}},
    {"resources": {"gpu": "lots"}},
    {"search": {"method": "annealing"}},
    *map(knob, ["fast", 0, True, {"uniform": [1]}, {"uniform": [1, 2], "stp": 1}, {"min": 1}]),
]


@pytest.mark.parametrize("tree", VALID, ids=json.dumps)
def test_what_may_be_written_is_valid(validator, tree):
    assert list(validator.iter_errors(tree)) == []


@pytest.mark.parametrize("tree", BROKEN, ids=json.dumps)
def test_what_is_broken_is_not(validator, tree):
    assert list(validator.iter_errors(tree))


def test_every_technique_is_described():
    for family, written in schema()["$defs"].items():
        for name, technique in written.get("properties", {}).items() if "." not in family else ():
            assert technique["description"], (family, name)
