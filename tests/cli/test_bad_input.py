"""What a user can get wrong ends before anything starts: with exit code 2, where it is, the law
that it breaks, what was found, and what might have been meant.

Each search space in ``refused/`` stands beside the whole of what is said about it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.cli import refuse
from sweeper.sweep.plan import Settings, prepare, reopen

REFUSED = Path(__file__).parent / "refused"
CASES = sorted(REFUSED.glob("*.yaml"))
GOOD = "extends: base/dcgan.yaml\ntrial: {loss: {choice: [hinge, non_saturating]}}\n"

Told = Callable[..., str]


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of results for all, so that the data is packed once."""
    return tmp_path_factory.mktemp("refused") / "results"


@pytest.fixture
def told(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """What is said of an attempt, which must fail with exit code 2."""
    monkeypatch.chdir(tmp_path)

    def attempt(act: Callable[[], object]) -> str:
        with pytest.raises(ValueError) as caught:
            act()
        assert refuse(caught.value) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        return printed.err.replace(f"{tmp_path}/", "").replace(f"{out.parent}/", "")

    return attempt


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_space_is_refused_in_these_words(path: Path, told: Told, out: Path) -> None:
    space = Path(path.name)
    space.write_text(path.read_text())
    assert told(lambda: prepare(Settings(space, out=out))) == path.with_suffix(".txt").read_text()


SETTINGS = {
    "missing file": (
        {"space": Path("nowhere.yaml")},
        "nowhere.yaml: a search space is a YAML file, but No such file or directory",
    ),
    "a folder": (
        {"space": Path()},
        ".: a search space is a YAML file, but Is a directory",
    ),
    "results where none can be": (
        {"out": Path("good.yaml/results")},
        "--out is a folder that can be written to, but good.yaml/results: Not a directory",
    ),
    "unknown data": (
        {"data": "digts"},
        "--data is digits, glyphs, grid, ring, stacked_digits, triangles, a set of torchvision's "
        "(mnist, fashion_mnist, kmnist, emnist, emnist_digits, emnist_letters, svhn, cifar10, "
        "cifar100, stl10, celeba, lsun), a folder of images, a zip or tar file of them, a Parquet "
        "file or a folder of those, or a packed store, but got 'digts'; did you mean 'digits'?",
    ),
    "data whose files are not here": (
        {"data": "cifar100"},
        "--data: cifar100 is read from files in data (root), but these are not there: "
        "cifar-100-python/train, cifar-100-python/test, cifar-100-python/meta; download: true "
        "beside the name in the search space fetches them",
    ),
    "data without images": (
        {"data": "."},
        "--data: a data folder holds images (.bmp, .gif, .jp2, .jpeg, .jpg, .pgm, .png, "
        ".ppm, .tif, .tiff, .webp), but . holds none",
    ),
    "a name that is no folder's": (
        {"name": "a/b"},
        "a sweep's name is the name of a folder, but got 'a/b'",
    ),
    "--set without a value": (
        {"overrides": ("batch.size",)},
        "--set batch.size: an override is path=value, such as batch.size=32",
    ),
    "--set of an unknown path": (
        {"overrides": ("batch.sise=3", "serch.trials=2")},
        "--set batch.sise=3: trial.batch.sise: there is no key 'sise' here; known: size, "
        "accumulate, mixed\n"
        "  did you mean size?\n"
        "--set serch.trials=2: serch: there is no key 'serch' here; known: name, extends, use, "
        "trial, constraints, baselines, given, published, search, confirm, budget, objective, "
        "resources, retries, limits\n"
        "  did you mean search?",
    ),
    "--set of a bad value": (
        {"overrides": ("batch.size=none", "loss=hing")},
        "--set batch.size=none: trial.batch.size: size must be a whole number, but got 'none'\n"
        "--set loss=hing: trial.loss.hing: there is no 'hing' among the losses; known: hinge, "
        "least_squares, minimax, non_saturating, relativistic, relativistic_average, wasserstein\n"
        "  did you mean hinge?",
    ),
    "--set of broken YAML": (
        {"overrides": ("loss={hinge",)},
        "--set loss={hinge: '{hinge' is not valid YAML: expected ',' or '}', "
        "but got '<stream end>'",
    ),
    "--set extends": (
        {"overrides": ("extends=base/dcgan.yaml",)},
        "--set extends=base/dcgan.yaml: extends: a space extends another in its file, "
        "and nowhere else",
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_is_refused_in_these_words(case: str, told: Told, out: Path) -> None:
    given, words = SETTINGS[case]
    Path("good.yaml").write_text(GOOD)
    settings = Settings(**{"space": Path("good.yaml"), "out": out, **given})
    assert (
        told(lambda: prepare(settings)).replace(os.getcwd(), ".")
        == f"{words}\nnothing was started\n"
    )


def test_a_baseline_whose_networks_cannot_be_built_is_refused(told: Told, out: Path) -> None:
    space = Path("baseline.yaml")
    text = "baselines: [{name: wide, generator.normalization: {group_norm: {groups: 7}}}]"
    space.write_text(f"{GOOD}{text}\n")
    words = told(lambda: prepare(Settings(space, out=out)))
    assert words.startswith(
        "baseline.yaml:3:13: baselines.0: 'wide' is no trial: architecture.dcgan"
    )


@pytest.fixture
def folder(tmp_path: Path, out: Path) -> Path:
    """The results folder of a sweep that has not begun yet."""
    space = tmp_path / "good.yaml"
    space.write_text(GOOD)
    plan = prepare(Settings(space, out=out, name="kept"))
    plan.write()
    return plan.folder


def test_resume_takes_a_results_folder(told: Told) -> None:
    words = "resume takes a results folder, which holds sweep.json, but . does not\n"
    assert told(lambda: reopen(Path(), None)) == f"{words}nothing was started\n"


def test_a_sweep_goes_on_in_its_own_space_only(folder: Path, told: Told) -> None:
    assert reopen(folder, None).space.name == "good"
    resolved = folder / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("hinge", "least_squares"))
    assert "resolved.yaml is not the one that it began with" in told(lambda: reopen(folder, None))
    resolved.unlink()
    assert "resolved.yaml: a search space is a YAML file, but" in told(lambda: reopen(folder, None))


def test_a_sweep_goes_on_under_its_own_protocol_only(folder: Path, told: Told) -> None:
    resolved = folder / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("samples: 1000", "samples: 500"))
    assert "one evaluation protocol, but" in told(lambda: reopen(folder, None))


@pytest.mark.parametrize("torn", ["{", "[]", "{}"])
def test_a_torn_sweep_json_is_refused(folder: Path, told: Told, torn: str) -> None:
    (folder / "sweep.json").write_text(torn)
    assert "this is not what sweeper wrote there" in told(lambda: reopen(folder, None))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "bad.yaml"),
        ("resume", "."),
        ("run", "bad.yaml", "--trials", "none"),
    ],
    ids=" ".join,
)
def test_the_command_ends_with_2_and_without_a_traceback(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("trial: {loss: hing}\n")
    done = subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["bad.yaml"]
