"""The tables of a sweep say the same in every format, and what the ledger says."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables
from tests.cli.test_status import Window
from tests.sweep.synthetic import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "ttur-2"
    made.mkdir()
    with Ledger(made) as ledger:
        fill(ledger, made)
        # No table is in the folder: its driver was killed before it wrote any.
    return made


def exported(*words: str | Path) -> bytes:
    done = CliRunner().invoke(app, ["export", *map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout_bytes


def refused(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["export", *map(str, words)])
    assert done.exception is not None
    return str(done.exception)


@pytest.mark.parametrize("what", ["trials", "measurements", "verdicts"])
def test_the_formats_agree_with_the_tables_of_the_folder(folder: Path, what: str) -> None:
    found = pq.read_table(pa.BufferReader(exported(folder, "--what", what, "--format", "parquet")))
    with Ledger(folder, write=False) as ledger:
        write_tables(ledger, folder, "abcdef0123")
    assert found.equals(pq.read_table(folder / f"{what}.parquet"))
    rows = json.loads(exported(folder, "--what", what, "--format", "json"))
    lines = list(csv.DictReader(io.StringIO(exported(folder, "--what", what).decode())))
    assert len(rows) == len(lines) == len(found)
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == list(line) == found.column_names
        numbers = {k: v for k, v in row.items() if isinstance(v, float | int)}
        assert {k: line[k] for k in numbers} == {k: str(v) for k, v in numbers.items()}


def test_a_configuration_is_an_object_in_json_and_its_text_in_csv(folder: Path) -> None:
    row = json.loads(exported(folder, "--format", "json"))[1]
    line = list(csv.DictReader(io.StringIO(exported(folder).decode())))[1]
    assert row["config"]["params"]["loss"] == row["param.loss"]
    assert json.loads(line["config"]) == row["config"]
    assert row["created"].endswith("+00:00")


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        fill(ledger, tmp_path)
        ledger.add_trial({"loss": "hinge", "rate": math.inf}, {}, warnings=["a, b", 'c "d"'])
    row = json.loads(exported(tmp_path, "--format", "json"))[6]
    assert (row["param.rate"], row["score"]) == (None, None)
    line = list(csv.DictReader(io.StringIO(exported(tmp_path).decode())))[6]
    assert json.loads(line["warnings"]) == ["a, b", 'c "d"']
    assert line["score"] == ""


def test_a_file_is_of_the_format_that_its_name_says(folder: Path, tmp_path: Path) -> None:
    exported(folder, "-o", tmp_path / "trials.parquet")
    assert pq.read_table(tmp_path / "trials.parquet").num_rows == 6
    exported(folder, "-o", tmp_path / "trials.json")
    assert len(json.loads((tmp_path / "trials.json").read_text())) == 6


def test_what_there_is_not_is_refused(folder: Path, tmp_path: Path) -> None:
    assert (
        refused(folder, "--format", "cvs")
        == "a format is one of csv, json, parquet, but got 'cvs'; did you mean csv?"
    )
    assert "a format is one of csv, json, parquet, but got 'txt'" in refused(
        folder, "-o", tmp_path / "x.txt"
    )
    assert not (tmp_path / "x.txt").exists()
    assert "did you mean trials?" in refused(folder, "--what", "trial")


def test_a_terminal_is_shown_no_bytes(folder: Path) -> None:
    with Window("export", folder, "--format", "parquet") as window:
        assert window.code() == 2
    assert "a terminal shows text" in window.seen
    assert "PAR1" not in window.seen
