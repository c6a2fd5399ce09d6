"""The spaces that ship can be listed and copied, and a copy is the same space."""

from __future__ import annotations

import itertools
import re

import pytest

from sweeper.space.shelf import copy, listing, names, question
from sweeper.space.source import InputError
from sweeper.space.space import load, shipped


def test_every_space_is_listed_with_what_it_is_for():
    lines = list(listing())
    for name in names():
        (line,) = [line for line in lines if line.split(" ")[2:3] == [name]]
        assert line.endswith(question(name))
        assert 5 <= len(question(name)) <= 160


@pytest.mark.parametrize("name", names())
def test_a_header_has_a_question_a_paper_and_a_cost(name):
    text = (shipped() / f"{name}.yaml").read_text()
    header = " ".join(itertools.takewhile(lambda line: line[:1] == "#", text.splitlines()))
    assert "arXiv" in header
    if not name.startswith("base/"):
        assert question(name).endswith("?")
        assert re.search(r"\bcores?\b", header)


@pytest.mark.parametrize("name", ["ttur", "papers/lucic2018_narrow", "base/sagan"])
def test_a_copy_is_the_same_space(name, tmp_path):
    path = copy(name, tmp_path)
    assert path == tmp_path / f"{name.rpartition('/')[2]}.yaml"
    given = {"overrides": ["budget.max=9"], "data": {"digits": {}}}
    mine, ours = load(path, **given), load(shipped() / f"{name}.yaml", **given)
    assert mine.tree == ours.tree
    assert mine.source.tree == ours.source.tree | {"name": mine.name}
    assert (tmp_path / "schema.json").read_text() == (shipped() / "schema.json").read_text()


def test_a_header_points_to_the_schema_beside_it(tmp_path):
    first = copy("papers/lin2018_ring", tmp_path).read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"


def test_a_file_is_never_written_over(tmp_path):
    (tmp_path / "ttur.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"never written over, but .*ttur\.yaml is there"):
        copy("ttur", tmp_path)
    assert (tmp_path / "ttur.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["tttur", "papers/lin2018_rng", "data/digits", "../README"])
def test_a_name_that_is_none(name, tmp_path):
    with pytest.raises(InputError, match="there is no search space"):
        copy(name, tmp_path)
    assert not list(tmp_path.iterdir())
