"""The best trial by itself: a file that is trained again, and a generator that needs no sweep."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

import sweeper
from sweeper.space.source import InputError
from sweeper.sweep.exported import export_best
from sweeper.sweep.plan import Settings, space_of
from sweeper.sweep.single import chosen
from sweeper.trial.portable import Plan
from sweeper.trial.tensors import DTYPES, read_tensors, write_tensors


@pytest.fixture(scope="module")
def exported(results: sweeper.Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return results.best.export(tmp_path_factory.mktemp("exported") / "best")


def test_the_trial_is_the_one_that_was_best(results: sweeper.Results, exported: Path) -> None:
    space, _ = space_of(Settings(exported / "trial.yaml"))
    again = chosen(space, None, lambda trial: None)
    assert json.loads(json.dumps(again.plain())) == results.best.config


def test_the_generator_needs_neither_data_nor_ray_nor_mlflow(
    results: sweeper.Results, exported: Path, tmp_path: Path
) -> None:
    code = """
import sys, numpy, sweeper
generator = sweeper.generator(sys.argv[1])
numpy.save(sys.argv[2], generator(generator.latents(6, seed=5)).numpy())
print(*{"ray", "mlflow", "optuna", "pandas"} & {name.partition(".")[0] for name in sys.modules})
"""
    where = [str(exported / "generator.safetensors"), str(tmp_path / "images.npy")]
    done = subprocess.run(
        [sys.executable, "-c", code, *where],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"
    here = results.best.generator
    assert np.allclose(np.load(where[1]), here(here.latents(6, seed=5)).numpy(), atol=1e-6)


def test_what_to_do_with_it_is_told(results: sweeper.Results, exported: Path) -> None:
    said = (exported / "README.md").read_text()
    (code,) = [part.split("```")[0] for part in said.split("```python\n")[1:]]
    found: dict[str, torch.Tensor] = {}
    exec(code.replace("generator.safetensors", str(exported / "generator.safetensors")), found)
    assert found["images"].shape == (64, 1, 8, 8)
    assert (exported / "samples.png").is_file()


def test_another_trial_than_the_best_is_exported_by_its_number(
    results: sweeper.Results, tmp_path: Path
) -> None:
    said = list(export_best(results.folder, tmp_path / "one", 1))
    assert said[0].startswith("wrote t001 (")
    assert (tmp_path / "one" / "trial.yaml").read_text().startswith("# t001: ")


def test_nothing_is_written_over(results: sweeper.Results, exported: Path) -> None:
    before = {path: path.read_bytes() for path in exported.iterdir()}
    with pytest.raises(InputError, match="goes into a new or empty folder"):
        results.best.export(exported)
    assert {path: path.read_bytes() for path in exported.iterdir()} == before


@pytest.mark.parametrize("range", ["tanh", "unit", "standardize"])
def test_levels_are_seen_as_they_were_in_training(results: sweeper.Results, range: str) -> None:
    found = results.best.trained
    trial = found.trial.model_copy(
        update={"feed": found.trial.feed.model_copy(update={"pixel_range": range})}
    )
    plan = Plan.of(trial, found.store())
    again = Plan.read(json.loads(json.dumps(plan.plain())))
    state = found.state["best_generator"]
    one, other = plan.sampler(state), again.sampler(state)
    z = one.latents(3)
    assert torch.equal(one(z), other(z))
    assert (range == "tanh") == torch.equal(one(z), results.best.generator(z))


def test_tensors_lie_in_the_file_as_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"b": torch.tensor([1.5, -2.0]), "a": torch.tensor(7)}, {"of": "é"})
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    assert size % 8 == 0
    assert json.loads(data[8 : 8 + size]) == {
        "__metadata__": {"of": "é"},
        "a": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    }
    assert data[8 + size :] == struct.pack("<qff", 7, 1.5, -2.0)


@settings(max_examples=40)
@given(
    dtype=some.sampled_from(sorted(DTYPES)),
    shape=some.lists(some.integers(0, 4), max_size=3),
)
def test_tensors_come_back(
    dtype: str, shape: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "back.safetensors"
    x = (torch.arange(int(np.prod(shape)))).reshape(shape).to(DTYPES[dtype])
    write_tensors(path, {"x": x, "turned": x.mT if x.ndim > 1 else x}, {})
    tensors, about = read_tensors(path)
    assert about == {}
    assert tensors["x"].dtype == x.dtype
    assert torch.equal(tensors["x"], x)
    assert torch.equal(tensors["turned"], x.mT if x.ndim > 1 else x)


HEADER = {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "F128"},
        {"shape": [3]},
        {"shape": [-2]},
        {"data_offsets": [0, 400]},
        {"data_offsets": [-8, 0]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [0]},
    ],
)
def test_a_damaged_file_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    text = json.dumps({"x": HEADER["x"] | changes}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ValueError, match="in the safetensors format, but"):
        read_tensors(path)


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, struct.pack("<Q", 2) + b"[]"])
def test_what_is_no_file_of_tensors_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match="in the safetensors format, but"):
        sweeper.generator(path)


def test_tensors_that_are_no_generator_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"x": torch.zeros(2)}, {})
    with pytest.raises(InputError, match="sweeper export --best writes a generator"):
        sweeper.generator(path)
    with pytest.raises(InputError, match="No such file"):
        sweeper.generator(tmp_path / "none")
