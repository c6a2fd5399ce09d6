"""Several sweeps beside each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.protocol import MixedError, Protocol, differences, same
from sweeper.report.beside import write_comparison
from sweeper.report.compare import compare_json, compare_lines
from tests.report.folders import PLAN, trial, write
from tests.report.test_page import HOSTILE, held


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    mine = [trial(30.0, 9.0, heldout=9.5), trial(30.0, 20.0)]
    theirs = [trial(25.0, 12.0, heldout=11.0), trial(40.0, 7.0), trial(50.0, 6.5)]
    return [
        write(tmp_path / "mine", mine, name="mine"),
        write(tmp_path / "theirs", theirs, name="theirs"),
    ]


def test_the_best_of_each_are_ranked_together(folders: list[Path]) -> None:
    lines = compare_lines(folders, 2)
    assert lines[0].split()[:3] == ["rank", "sweep", "trial"]
    rows = [line.split()[:4] for line in lines[1:5]]
    assert rows == [
        ["1", "theirs", "t002", "6.50"],
        ["2", "theirs", "t001", "7.00"],
        ["3", "mine", "t000", "9.00"],
        ["4", "mine", "t001", "20.0"],
    ]
    assert "9.50" in lines[3]
    plain = json.loads(compare_json(folders, 1))
    assert [(t["rank"], Path(t["sweep"]).name) for t in plain["trials"]] == [
        (1, "theirs"),
        (2, "mine"),
    ]


def test_sweeps_of_other_protocols_are_refused_with_what_differs(
    folders: list[Path], tmp_path: Path
) -> None:
    other = PLAN["protocol"] | {"n_fake": 50_000}
    more = write(
        tmp_path / "other", [trial(1.0)], protocol=other, protocol_hash="fedcba987654", name="other"
    )
    with pytest.raises(MixedError, match=r"mine and other differ in n_fake \(2048 and 50000\)"):
        compare_lines([*folders, more], 3)


def test_the_page_of_two_sweeps_has_both(folders: list[Path]) -> None:
    path = write_comparison(folders, 2)
    assert path == folders[0] / "compare_theirs.html"
    page = held(path)
    said = "t002 of theirs is best, with 6.50; the best of mine is t000, with 9.00."
    assert said in page.text
    assert page.source.count("<title>t00") == 5 * page.source.count("<svg ")
    for words in ("mine beside theirs", "9.50", "6.50", "sweeper run search_spaces/ttur.yaml"):
        assert words in page.text
    assert sorted(path.name for path in folders[1].iterdir() if path.suffix == ".html") == []


def test_the_page_tells_in_what_the_sweeps_differ(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [trial(9.0)], seed=3)
    two = write(tmp_path / "two", [trial(8.0)], seed=4, method="random")
    rows = held(write_comparison([one, two], 1)).text.split("Ranked together")[0]
    assert "seed" in rows
    assert "random" in rows
    assert "horizon" not in rows


def test_sweeps_without_a_score_have_a_page(tmp_path: Path) -> None:
    none = write(tmp_path / "none", [trial(state="running")])
    page = held(write_comparison([none, write(tmp_path / "other", [])], 3))
    assert "No trial has a score yet." in page.text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_strings_are_only_text_there(tmp_path: Path, text: str) -> None:
    plan = dict.fromkeys(("name", "space", "metric", "method", "command"), text)
    plan |= {"data": {"name": text}, "protocol": {text: text}}
    params = {text: text}
    runs = [trial(9, 8, baseline=text, params=params), trial(7, 6, params=params)]
    folders = [write(tmp_path / f"f{n}", runs, samples=True, **plan) for n in (1, 2)]
    page = held(write_comparison(folders, 2))
    assert ("{{ 7 * 7 }}" in page.text) == ("{{ 7 * 7 }}" in text)
    assert len(page.source) < 400_000


def test_held_out_numbers_of_other_protocols_are_left_out(
    folders: list[Path], tmp_path: Path
) -> None:
    other = PLAN["full_protocol"] | {"n_fake": 50_000}
    more = write(tmp_path / "o", [trial(8.0, heldout=8.25)], full_protocol=other, name="o")
    text = "\n".join(compare_lines([folders[0], more], 3))
    assert "held-out numbers cannot be compared: n_fake (10000 and 50000)" in text
    assert "9.5" not in text
    assert "8.25" not in text


def test_a_folder_that_is_no_sweeps_is_refused_in_words(tmp_path: Path) -> None:
    for command in (["top"], ["report"], ["compare"]):
        line = [sys.executable, "-m", "sweeper.cli", *command, "nowhere"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert "a results folder holds sweep.json, but nowhere does not" in done.stderr
        assert "fault of sweeper" not in done.stderr


def protocol(**changes: object) -> Protocol:
    known: dict[str, object] = {
        "metric": "fid",
        "features": "inception",
        "weights": "6726825d0af5",
        "data": "9f31c0de",
        "shape": (3, 32, 32),
        "split": "all",
        "real": 50_000,
        "fake": 50_000,
        "resize": "bilinear 299",
        "generator": "as the tricks show it",
        "seed": 0,
        "dtype": "float64",
        "metrics": (),
    }
    return Protocol(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("features", "raw"),
        ("weights", "0123"),
        ("data", "a"),
        ("shape", (3, 64, 64)),
        ("split", "one half by seed"),
        ("real", 10_000),
        ("fake", 5_000),
        ("resize", "none"),
        ("generator", "raw weights"),
        ("seed", 1),
        ("dtype", "float32"),
        ("metrics", ("kid",)),
    ],
)
def test_every_part_of_a_protocol_is_in_its_hash(field: str, value: object) -> None:
    one, other = protocol(), protocol(**{field: value})
    assert one.hash != other.hash
    assert differences(one.plain(), other.plain()).startswith(f"{field} (")
    with pytest.raises(MixedError, match=field):
        same([("a", one.plain()), ("b", protocol().plain()), ("c", other.plain())])


def test_a_protocol_that_was_written_down_is_the_same() -> None:
    one = protocol()
    read = json.loads(json.dumps(one.plain()))
    assert differences(one.plain(), read) == ""
    same([("a", one.plain()), ("b", read)])
    assert protocol().hash == one.hash
