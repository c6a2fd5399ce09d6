"""The best generators are in MLflow: once, and usable without sweeper."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeper.config import Trial
from sweeper.ledger.ledger import Ledger
from sweeper.sweep import graphs, mlflow_models
from sweeper.sweep.drive import How, drive
from sweeper.sweep.sync import sync
from sweeper.sweep.tracking import Tracker, default_uri
from sweeper.sweep.trained import trained
from sweeper.trial.loop import Training
from sweeper.trial.portable import Sampler
from sweeper.verify import contracts
from tests.sweep import synthetic
from tests.sweep.plans import small
from tests.sweep.synthetic import PLAN


@pytest.fixture
def folder(tmp_path: Path, migrated: Path) -> Path:
    place: Path = tmp_path / "results" / PLAN["name"]
    place.mkdir(parents=True)
    shutil.copy(migrated, place.parent / "mlflow.db")
    return place


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    """A sweep that ended, of which trials 0 to 2 have checkpoints."""
    with Ledger(folder) as opened:
        synthetic.fill(opened, folder)
        for number in range(3):
            kept = folder / "trials" / f"{number:05d}" / "checkpoints"
            kept.mkdir(parents=True)
            (kept / "a.pt").touch()
        yield opened


def written(folder: Path, number: int, into: Path) -> dict[str, str]:
    """What stands in for a graph."""
    (into / "data").mkdir(parents=True)
    (into / "MLmodel").write_text(f"the generator of trial {number}")
    return {"sweeper.needs": "nothing"}


def models(folder: Path) -> dict[int, Any]:
    """MLflow's models by trial, of which none is there twice."""
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(folder))
    experiment = client.get_experiment_by_name("sweeper/ttur")
    assert experiment is not None
    found = client.search_logged_models([experiment.experiment_id])
    numbers = [int(model.tags["sweeper.trial"]) for model in found]
    assert len(set(numbers)) == len(numbers)
    for model in found:
        outputs = client.get_run(str(model.source_run_id)).outputs
        assert outputs is not None
        assert [made.model_id for made in outputs.model_outputs] == [model.model_id]
    return dict(zip(numbers, found, strict=True))


def track(ledger: Ledger, folder: Path, deadline: float = 600.0) -> tuple[int, list[str]]:
    tracker = Tracker(PLAN, ledger, folder, default_uri(folder))
    return tracker.close(deadline), tracker.warnings


def test_the_best_and_the_best_baseline(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_models, "write", written)
    assert track(ledger, folder) == (0, [])
    found = models(folder)
    assert {n: m.tags["sweeper.is"] for n, m in found.items()} == {0: "best baseline", 1: "best"}
    assert {str(m.status) for m in found.values()} == {"READY"}
    best = {metric.key: metric.value for metric in found[1].metrics}
    assert best["eval/fid_digits_best"] == synthetic.score(1, synthetic.HORIZON)
    assert found[1].params["lr_g"] == "0.0001857"
    assert list(folder.glob(".model-*")) == []


def test_a_model_is_told_once_whatever_fails(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write fails once after it was done: it may be done again, but is not seen twice."""
    from mlflow import MlflowClient

    monkeypatch.setattr(mlflow_models, "write", written)
    for name in ("create_logged_model", "log_model_artifacts", "log_outputs"):
        monkeypatch.setattr(MlflowClient, name, forgotten(getattr(MlflowClient, name)))
    attempts = [track(ledger, folder) for _ in range(3)]  # each gives up after a while
    assert attempts[0][1]
    assert attempts[-1] == (0, [])
    before = {n: (m.model_id, str(m.status)) for n, m in models(folder).items()}
    assert [status for _, status in before.values()] == ["READY", "READY"]
    assert track(ledger, folder) == (0, [])
    assert {n: (m.model_id, str(m.status)) for n, m in models(folder).items()} == before


def forgotten(write: Callable[..., Any]) -> Callable[..., Any]:
    """A call whose first answer is lost."""
    calls = iter(range(1_000_000))

    def call(*args: Any, **kwargs: Any) -> Any:
        made = write(*args, **kwargs)
        if next(calls) == 0:
            raise ConnectionError("no answer")
        return made

    return call


def test_a_generator_that_is_no_graph_costs_a_line(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, number: int, into: Path) -> dict[str, str]:
        if number:
            raise ValueError("it turns by what it computes\nand so on")
        return written(folder, number, into)

    monkeypatch.setattr(mlflow_models, "write", refuse)
    said = "MLflow gets no generator of t001 (ValueError: it turns by what it computes)"
    assert track(ledger, folder) == (0, [said])
    assert set(models(folder)) == {0}


def test_none_is_begun_without_time_for_it(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_models, "SECONDS", 1000.0)
    assert track(ledger, folder) == (2, [])
    assert models(folder) == {}


def test_a_better_one_that_comes_later_takes_its_place(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_models, "write", written)
    track(ledger, folder)
    (kept := folder / "trials" / "00006" / "checkpoints").mkdir(parents=True)
    (kept / "a.pt").touch()
    ledger.add_trial(synthetic.draw(6), {"seed": 0})
    ledger.started(6)
    ledger.measured(6, 1, synthetic.HORIZON, 1.0, "continue", {"images": synthetic.HORIZON})
    ledger.ended(6, "completed", "the full 28.8 kimg")
    tracker = Tracker(PLAN | {"trials": 7}, ledger, folder, default_uri(folder))
    assert tracker.close() == 0
    said = {number: model.tags["sweeper.is"] for number, model in models(folder).items()}
    assert said == {0: "best baseline", 1: "former best", 6: "best"}


ALONE = """
import sys
sys.modules["sweeper"] = None  # to import it is an error from here on
import mlflow, numpy, torch
mlflow.set_tracking_uri(sys.argv[1])
generator = mlflow.pytorch.load_model(f"models:/{sys.argv[2]}")
images = generator(torch.from_numpy(numpy.load("latents.npy")))
numpy.save("images.npy", images.detach().numpy())
about = mlflow.models.get_model_info(f"models:/{sys.argv[2]}")
print(about.signature.inputs.input_names(), about.saved_input_example_info["type"])
"""


@pytest.mark.slow
def test_a_generator_samples_without_sweeper(tmp_path: Path, migrated: Path) -> None:
    plan = small(tmp_path / "results", trials=2)
    shutil.copy(migrated, plan.out / "mlflow.db")
    lines: list[str] = []
    assert drive(plan, How(inline=True, json_lines=True), lines.append) == 0
    assert not [line for line in lines if "MLflow" in line]
    assert sync(plan.folder, None, lines.append) == 0
    found = models(plan.folder)
    assert {model.tags["sweeper.is"] for model in found.values()} == {"best", "best baseline"}
    number, model = next((n, m) for n, m in found.items() if m.tags["sweeper.is"] == "best")
    (best,) = trained(plan.folder, number)
    sampler = best.sampler(best.store())
    latents = sampler.latents(9, seed=3)
    np.save(tmp_path / "latents.npy", latents.numpy())
    done = subprocess.run(
        [sys.executable, "-c", ALONE, default_uri(plan.folder), model.model_id],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "['z'] ndarray"
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "images.npy"), sampler(latents), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"generator": {"normalization": "conditional_batch_norm", "optimizer": "adam"}}, "label"),
        ({"architecture": {"progressive_growing": {}}}, ""),
    ],
    ids=["told the class", "grown"],
)
def test_what_a_generator_is_told(
    changes: dict[str, Any], names: str, tmp_path: Path, cache: Path
) -> None:
    """Its class, if that makes a difference; nothing that does not."""
    if "architecture" in changes:
        trial = contracts.trial_with(
            next(c for c in contracts.cases() if c.entry.name == "progressive_growing"),
            contracts.bases(cache),
        )
    else:
        trial = Trial.read(contracts.tiny(**changes))
    training = Training(trial, cache)
    sampler = Sampler(training.gan.eval_generator(), trial.prior.make())
    z, label = sampler.latents(graphs.EXAMPLES), torch.tensor([3, 1, 4, 1])
    told = graphs.needed(sampler, z, {"label": label})
    assert list(told) == names.split()
    inputs = {"z": z, **told}
    graphs.save(graphs.Inputs(sampler, list(told)), inputs, tmp_path / "model")
    more = {name: torch.cat([x, x.flip(0)])[:7] for name, x in inputs.items()}
    graphs.check(tmp_path / "model", more)
    graph = torch.export.load(tmp_path / "model" / "data" / "model.pt2").module()
    torch.testing.assert_close(graph(*more.values()), sampler(**more))
