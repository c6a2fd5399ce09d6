"""Sweeps from Python: the same as on the command line, in tables and arrays."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

import sweeper
from sweeper.api import conduct, html_table
from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.sweep.drive import How
from sweeper.sweep.generate import generate
from sweeper.sweep.plan import reopen
from sweeper.sweep.where import Dashboard, Place, Reached
from tests.sweep.plans import SPACES


def test_the_package_is_light_until_it_is_used() -> None:
    code = """
import sys, sweeper
heavy = {"torch", "ray", "mlflow", "optuna", "pandas", "numpy", "rich", "typer"}
assert not heavy & {name.partition(".")[0] for name in sys.modules}
assert sweeper.__version__
try:
    sweeper.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'sweeper' has no attribute 'nothing'\n"


def test_the_tables_hold_what_the_ledger_does(results: sweeper.Results) -> None:
    records = Ledger(results.folder, write=False).records
    trials = results.trials
    assert trials.trial.tolist() == [r.number for r in records]
    assert trials.state.tolist() == [r.state for r in records]
    assert trials.score.tolist() == [r.score for r in records]
    lr = "generator.optimizer.adam.lr"
    assert trials[f"param.{lr}"].tolist() == [r.params[lr] for r in records]
    measured = [(e.trial, e.step, e.value) for r in records for e in r.measured]
    table = results.measurements[["trial", "images", "score"]]
    assert list(table.itertuples(index=False, name=None)) == measured
    assert {"trial", "level", "says"} <= set(results.verdicts.columns)


def test_the_best_is_what_generate_samples_from(results: sweeper.Results, tmp_path: Path) -> None:
    (said,) = generate(results.folder, 16, tmp_path / "grid.png", None, 3)
    best = results.best
    assert f" of {best.name} " in said
    assert np.array_equal(np.array(Image.open(tmp_path / "grid.png")), best.sheet(16, seed=3))
    samples = best.sample(16, seed=3)
    assert (samples.shape, samples.dtype) == ((16, 8, 8), np.uint8)
    # A sheet has margins of a pixel, and digits are enlarged four times.
    small = np.array(best.sheet(16, seed=3))[::4, ::4]
    assert np.array_equal(small[1:9, 10:18], samples[1])
    assert not np.array_equal(samples, best.sample(16, seed=4))


def test_a_trial_tells_what_the_ledger_knows(results: sweeper.Results) -> None:
    record = results.records[1]
    for which in (1, "t001"):
        trial = results.trial(which)
        assert (trial.number, trial.name, trial.state) == (1, "t001", record.state)
        assert (trial.score, trial.heldout) == (record.score, record.heldout)
        assert (trial.params, trial.config) == (record.params, record.config)
        assert trial.metrics == record.metrics
    assert [t.score for t in results.ranking if t.heldout] == sorted(
        t.score for t in results.ranking if t.heldout
    )
    with pytest.raises(InputError, match=r"one of t000 to t002, but got 't007'"):
        results.trial("t007")


def test_a_generator_maps_latents_to_images(results: sweeper.Results) -> None:
    generator = results.best.generator
    z = generator.latents(5, seed=1).requires_grad_()
    images = generator(z)
    assert images.shape == (5, 1, 8, 8)
    assert images.abs().max() <= 1
    assert torch.equal(images, generator(z))
    images.sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in generator.parameters())


def test_the_answer_is_what_the_command_line_says(results: sweeper.Results) -> None:
    said = results.answer()
    assert said.startswith(f"Best {results.plan['metric']} ")
    assert f"sweeper ui {results.folder}" in said
    assert "\x1b" not in said


def test_the_command_is_the_one_that_does_the_same(results: sweeper.Results) -> None:
    words = shlex.split(results.plan["command"])
    assert words[:3] == ["sweeper", "run", str(SPACES / "ttur.yaml")]
    assert words[3:11] == ["--data", "digits", "--trials", "3", "--seed", "0", "--out", words[10]]
    assert 'evaluation.metrics=["kid"]' in words
    assert words[-1] == "--inline"


def test_a_notebook_shows_the_answer_and_the_best(results: sweeper.Results) -> None:
    shown = results._repr_html_()
    assert shown.startswith("<p>")
    assert shown.count("<tr>") == 1 + len(results.trials)
    assert results.plan["metric"] in shown
    assert "generator.optimizer.adam.lr" in results.best._repr_html_()


def test_what_a_notebook_shows_is_inert() -> None:
    hostile = '<script>alert("&")</script>\n\u202e' + "x" * 10_000
    shown = html_table([hostile], [[hostile]])
    assert "<script" not in shown
    assert "\u202e" not in shown
    assert "&lt;script&gt;" in shown
    assert len(shown) < 500


def test_a_report_is_written(results: sweeper.Results) -> None:
    path = results.report()
    assert path == results.folder / "report.html"
    assert "</html>" in path.read_text()


def test_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a results folder holds ledger\.sqlite, but"):
        sweeper.load(tmp_path)


def test_nothing_is_made_for_what_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch"):
        sweeper.run(SPACES / "ttur.yaml", overrides={"batch.size": "many"}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sweep_is_not_sent_to_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextlib.contextmanager
    def behind(address: str | None, say: object) -> Iterator[Reached]:
        place = Place("submit", "http://10.0.0.1:8265", "--address")
        yield Reached(place, cast(Dashboard, object()))

    monkeypatch.setattr("sweeper.api.reached", behind)
    with pytest.raises(InputError, match=r"10\.0\.0\.1:8265 is a cluster that sweeper run"):
        sweeper.run(SPACES / "ttur.yaml", out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_sweep_that_was_interrupted_says_how_to_go_on(
    results: sweeper.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.api.drive", lambda plan, how, say: 130)
    monkeypatch.setattr("sweeper.sweep.pictures.draw", lambda *about, **how: pytest.fail("drawn"))
    said: list[str] = []
    assert conduct(reopen(results.folder, None), How(inline=True), said.append) == 130
    assert said[0].startswith("sweep ttur: 3 trials of ttur on digits, in ")
    assert said[-1].startswith("interrupted: 3 of 3 trials have ended, nothing is lost")
    assert "sweeper resume " in said[-1]


def test_a_sweep_without_a_score_has_no_best(results: sweeper.Results, tmp_path: Path) -> None:
    for name in ("sweep.json", "resolved.yaml"):
        (tmp_path / name).write_bytes((results.folder / name).read_bytes())
    Ledger(tmp_path).close()
    empty = sweeper.load(tmp_path)
    with pytest.raises(InputError, match="has a score, but none of"):
        _ = empty.best
    with pytest.raises(InputError, match=r"writes trials\.parquet, but .* has none yet"):
        _ = empty.trials
