"""The worked example of CONTRIBUTING.md is a technique like any other."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeper.catalog.families import regularizers
from sweeper.config import Trial
from sweeper.registry import LogUniform
from sweeper.space.space import load
from sweeper.trial.loop import train
from sweeper.verify.claims import CHECKS
from tests.contracts.test_catalog import PAPERS as BIBLIOGRAPHY
from tests.docs.documents import ROOT, marked, read

TEXT = read("CONTRIBUTING.md")
FILE = "sweeper/catalog/regularizers/score_drift.py"
CLAIMS = "sweeper/verify/score_drift.py"


def run(name: str) -> dict[str, Any]:
    """Execute one of the files of the example."""
    names: dict[str, Any] = {"__name__": Path(name).stem}
    exec(compile(marked(TEXT, f"file: {name}"), name, "exec"), names)
    return names


@pytest.fixture
def example() -> Iterator[None]:
    run(FILE)
    yield
    regularizers.remove("score_drift")


@pytest.mark.usefixtures("example")
def test_it_is_registered_with_its_knobs() -> None:
    entry = regularizers["score_drift"]
    assert set(entry.knobs.model_fields) == {"weight", "every"}
    assert entry.recommended("weight") == LogUniform(1e-4, 1e-1)
    assert entry.paper in BIBLIOGRAPHY


@pytest.mark.usefixtures("example")
def test_its_formula_is_right() -> None:
    before = dict(CHECKS)
    try:
        claims = list(run(CLAIMS)["score_drift"]())
    finally:
        CHECKS.clear()
        CHECKS.update(before)
    assert claims
    assert all(claim.ok for claim in claims)


@pytest.mark.usefixtures("example")
def test_a_trial_trains_with_it(tiny: Callable[..., dict[str, Any]], cache: Path) -> None:
    trial = Trial.read(tiny(regularizers={"score_drift": {"weight": 0.01}}))
    assert Trial.read(trial.plain()) == trial
    measurements = list(train(trial, cache))
    assert [m.images for m in measurements] == [16, 32, 48]
    for measured in measurements:
        assert 0 <= measured.losses["discriminator.score_drift"] < math.inf


@pytest.mark.usefixtures("example")
def test_a_search_space_may_hold_it(tmp_path: Path) -> None:
    space = tmp_path / "drift.yaml"
    body = "".join(f"  {line}\n" for line in marked(TEXT, "yaml: trial").splitlines())
    space.write_text(f"extends: base/dcgan.yaml\ntrial:\n{body}budget: {{max: 1}}\n")
    found = load(space, data={"digits": {}})
    assert {p["name"] for p in found.parameters} == {
        "regularizers.score_drift",
        "regularizers.score_drift.weight",
    }


@pytest.mark.slow
def test_the_contracts_take_it_up(tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("sweeper", "search_spaces", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in (FILE, CLAIMS):
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(marked(TEXT, f"file: {name}"))
    words = [
        "-m",
        "pytest",
        "tests/contracts",
        "-k",
        "score_drift or bibliography",
    ]
    done = subprocess.run(
        [sys.executable, *words, "-rA", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "OMP_NUM_THREADS": "1",
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verified = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", "verify", "score_drift"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "ok    score_drift" in verified.stdout
    passed = re.findall(r"^PASSED \S+::(\w+)", done.stdout, re.MULTILINE)
    for name in (
        "test_cites_a_paper_of_the_bibliography",
        "test_trains_with_finite_losses",
        "test_continuing_is_the_same_as_never_having_stopped",
        "test_looking_never_changes_training",
        "test_a_move_leaves_the_other_player_alone",
        "test_its_ends_lead_elsewhere",
        "test_nothing_is_made_on_whatever_device_is_the_default",
        "test_the_bibliography_holds_what_is_cited_and_no_more",
    ):
        assert name in passed, (name, done.stdout)
