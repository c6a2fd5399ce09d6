"""What the report and the tables say of diagnostics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sweeper.ledger.ledger import Ledger
from sweeper.ledger.tables import write_tables
from sweeper.report.page import DIAGNOSED, render
from sweeper.report.ranking import load

from .folders import trial

Make = Callable[..., Path]


def verdict(name: str, level: str = "warn", says: str = "it is seen", advice: str = "") -> Any:
    return {"name": name, "level": level, "says": says, "advice": advice}


def section(page: str) -> str:
    return page.partition("<h2>What the diagnostics say</h2>")[2].partition("</section>")[0]


def test_every_trial_with_a_warning_has_its_sentences_and_advice(make: Make) -> None:
    hops, dead = verdict("mode_hopping", says="a <b> & c"), verdict("d_loss_zero", "fail", "D won")
    calm = verdict("d_loss_variance", "healthy", "it is calm")
    folder = make(
        [
            trial(
                9, 8, 7, verdicts=[[], [hops], [{**hops, "says": "5 changes", "advice": "wait"}]]
            ),
            trial(5, 4, state="diagnosed", reason="d_loss_zero: D won", verdicts=[[calm], [dead]]),
            trial(3, verdicts=[[calm]]),
            trial(6, warnings=["batch: small beside batch_norm"]),
            trial(8),
        ]
    )
    page = render(load(folder))
    said = section(page)
    order = [said.index(name) for name in ("t003", "t000", "t001")]
    assert order == sorted(order), "in the order of the ranking, what broke last"
    assert "t002" not in said, "all is well"
    assert "t004" not in said
    assert "2 times from 6.4 to 9.6 kimg; last: 5 changes." in said
    assert "Try wait." in said
    assert "a <b>" not in page
    assert said.index("D won") < said.index("it is calm")
    assert "batch: small beside batch_norm" in said
    assert "Diverged, ended by a diagnosis, and failed" in page
    assert "ended by a diagnosis</li>" in page


def test_nothing_is_said_where_nothing_was_found(usual: Path) -> None:
    assert not section(render(load(usual)))


def test_so_many_trials_are_said_to_be_more(make: Make) -> None:
    trials = [trial(i + 1, verdicts=[[verdict("mode_collapse")]]) for i in range(DIAGNOSED + 2)]
    assert "2 more trials are in" in section(render(load(make(trials))))


def test_a_folder_of_an_older_version_is_reported(usual: Path) -> None:
    (usual / "verdicts.parquet").unlink()
    trials = pq.read_table(usual / "trials.parquet").drop_columns("warnings")
    pq.write_table(trials, usual / "trials.parquet")
    assert render(load(usual))


def test_the_tables_hold_what_was_measured(tmp_path: Path) -> None:
    series = dict.fromkeys(("mean", "deviation", "low", "p90", "high", "ema"), 0.5)
    window = {
        "images": 640,
        "rounds": 100,
        "series": {"real score": {"n": 100, **series, "spikes": 1, "crossings": 2}},
    }
    data = {
        "best": 3.0,
        "seconds": 1.0,
        "images_per_second": 1.0,
        "losses": {},
        "d_steps": 10,
        "g_steps": 5,
        "windows": [window],
        "layers": {"generator.0.weight": {"gradient_norm": 2.0, "zero_share": 0.25}},
        "variety": {"distance": 0.9, "deviation": 0.8, "coverage": 1.0, "dominant": 3},
        "verdicts": [verdict("mode_hopping")],
    }
    with Ledger(tmp_path) as ledger:
        ledger.add_trial({}, {}, warnings=["a", "b"])
        ledger.started(0)
        ledger.measured(0, 1, 640, 3.0, "continue", json.loads(json.dumps(data)))
        write_tables(ledger, tmp_path, "p", closing=False)
        assert not (tmp_path / "windows.parquet").exists(), "the long ones wait for the end"
        write_tables(ledger, tmp_path, "p")

    def row(table: str) -> dict[str, Any]:
        (found,) = pq.read_table(tmp_path / f"{table}.parquet").to_pylist()
        return dict(found)

    assert row("trials")["warnings"] == ["a", "b"]
    measured = row("measurements")
    assert (measured["d_steps"], measured["g_steps"]) == (10, 5)
    assert (measured["variety.distance"], measured["variety.dominant"]) == (0.9, 3)
    assert row("verdicts") == {"trial": 0, "images": 640, **verdict("mode_hopping")}
    assert row("windows") == {
        "trial": 0,
        "images": 640,
        "rounds": 100,
        "series": "real score",
        "n": 100,
        **series,
        "spikes": 1,
        "crossings": 2,
    }
    assert row("layers") == {
        "trial": 0,
        "images": 640,
        "layer": "generator.0.weight",
        "gradient_norm": 2.0,
        "zero_share": 0.25,
    }
