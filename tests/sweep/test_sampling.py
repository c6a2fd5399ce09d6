"""Draws of a space, written down: each is a trial that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.config import Misfit, Problem, Trial
from sweeper.space.source import InputError
from sweeper.space.space import load
from sweeper.sweep.draws import draws
from sweeper.sweep.plan import Settings, space_of
from sweeper.sweep.single import chosen

SPACES = Path(__file__).parents[2] / "search_spaces"
TTUR = SPACES / "ttur.yaml"


def anything(trial: Trial) -> None:
    """Whatever was drawn is well."""


def test_a_draw_that_was_written_down_is_the_same_trial(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["sample", str(TTUR), "-n", "3", "--to", str(tmp_path)])
    assert printed.exit_code == 0, printed.output
    files = [Path(line) for line in printed.output.splitlines()]
    assert [file.name for file in files] == ["ttur-0.yaml", "ttur-1.yaml", "ttur-2.yaml"]
    space, _ = space_of(Settings(TTUR))
    for index, file in enumerate(files):
        again, _ = space_of(Settings(file))
        trial = chosen(again, None, anything)
        assert trial == chosen(space, index, anything)
        assert len(again.parameters) == 0


def test_draws_are_printed_as_documents() -> None:
    printed = CliRunner().invoke(app, ["sample", str(TTUR), "-n", "2", "--set", "batch.size=16"])
    assert printed.exit_code == 0, printed.output
    assert printed.output.count("---\n# draw ") == 2
    assert printed.output.count("  size: 16\n") == 2


def test_a_space_of_which_no_draw_fits_is_refused() -> None:
    def never(trial: Trial) -> None:
        raise Misfit([Problem(("loss",), "there is no such loss")])

    space = load(TTUR, overrides=["budget.max=9"], data={"digits": {}})
    with pytest.raises(InputError, match=r"(?s)200 draws in a row.*ttur\.yaml:\d+.*no such loss"):
        next(draws(space, never))
