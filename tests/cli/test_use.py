"""Techniques of one's own: from a file into the catalog, through a sweep, and out again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.catalog.families import losses
from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.space.space import load
from sweeper.space.use import Used, bring, kept
from sweeper.sweep.executor import Job, work

MINE = '''"""A loss of my own."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import softplus

from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores
from sweeper.registry import LogUniform


@losses.register()
class Tempered(Loss):
    """Non-saturating, at a temperature."""

    def __init__(self, *, slope: Annotated[float, Gt(0), LogUniform(0.1, 10.0)] = 1.0) -> None:
        self.slope = slope

    def discriminator(self, scores: Scores) -> Tensor:
        return (softplus(-self.slope * scores.real) + softplus(self.slope * scores.fake)).mean()

    def generator(self, scores: Scores) -> Tensor:
        return softplus(-self.slope * scores.fake).mean()
'''
SPACE = """
use: [mine.py]
extends: base/dcgan.yaml
trial:
  loss: {tempered: auto}
  architecture: {dcgan: {channels: 4}}
  batch: {size: 8}
  evaluation: {features: random_conv, samples: 16, full_samples: 16}
budget: {max: 0.048}
search: {trials: 2}
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a technique and a space that uses it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine.yaml").write_text(SPACE)
    return tmp_path


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What a test brings is gone afterwards."""
    modules, known = set(sys.modules), set(losses)
    yield
    for name in set(losses) - known:
        losses.remove(name)
    for module in set(sys.modules) - modules:
        if module.startswith("sweeper_use_"):
            del sys.modules[module]


def typed(*words: str, paths: str = "", temporary: str = "") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    environment |= {"TMPDIR": temporary} if temporary else {}
    return subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )


def refused(source: str, name: str = "wrong.py") -> str:
    with pytest.raises(InputError) as caught:
        Used(name, source).load()
    return str(caught.value)


@pytest.mark.slow
def test_a_sweep_of_a_loss_of_ones_own_from_end_to_end(desk: Path) -> None:
    done = typed("run", "mine.yaml", "--inline")
    assert done.returncode == 2
    assert (
        "mine.yaml:2:7: use.0: this runs the code in mine.py: if you trust it, add" in done.stderr
    )
    assert not Path("results").exists()

    done = typed("run", "mine.yaml", "--inline", "--use", "mine.py")
    assert done.returncode == 0, done.stderr
    folder, sha = Path("results/mine"), hashlib.sha256(MINE.encode()).hexdigest()
    plain = json.loads((folder / "sweep.json").read_text())
    (used,) = plain["use"]
    assert used == {"name": "mine.py", "sha256": sha, "file": f"use/{sha[:12]}-mine.py"}
    assert (folder / used["file"]).read_text() == MINE
    with sqlite3.connect("results/mlflow.db") as database:
        tags = database.execute("select value from tags where key = 'sweeper.use'").fetchall()
    assert {tag for (tag,) in tags} == {f"mine.py {sha}"}
    assert len(tags) == 3  # the sweep's own run and its trials'

    Path("mine.py").unlink()
    done = typed("resume", "results/mine", "--inline", "--trials", "3")
    assert done.returncode == 0, done.stderr
    ledger = Ledger(folder, write=False)
    assert len(ledger.records) == 3
    assert {r.state for r in ledger.records} <= {"completed", "stopped"}
    assert all("tempered" in r.config["loss"] for r in ledger.records)
    ledger.close()
    for words in (("generate", "results/mine", "-n", "4"), ("report", "results/mine")):
        assert typed(*words).returncode == 0
    assert Path("grid.png").is_file()

    Path("mine.py").write_text(f"{MINE}# changed\n")
    done = typed("resume", "results/mine", "--inline", "--use", "mine.py", "--trials", "4")
    assert done.returncode == 2
    assert "it did not begin with mine.py as it is now" in done.stderr


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.timeout(900)
def test_workers_run_the_source_that_the_driver_read(desk: Path) -> None:
    temporary = tempfile.mkdtemp(prefix="swu-", dir="/tmp")
    try:
        done = typed(
            "run", "mine.yaml", "--address", "local", "--use", "mine.py", temporary=temporary
        )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = Ledger(desk / "results" / "mine", write=False)
    assert len(ledger.records) == 2
    assert {r.state for r in ledger.records} <= {"completed", "stopped"}
    ledger.close()


def test_a_worker_loads_what_its_job_brings_and_tells_what_fails(tmp_path: Path) -> None:
    trial = {"loss": "tempered"}
    job = Job(0, 1, trial, str(tmp_path / "0"), str(tmp_path), 1, [("mine.py", MINE)])
    (report,) = work(Job(**json.loads(json.dumps(job.plain()))))
    assert "tempered" in losses
    assert "tempered" not in report["reason"]
    assert "is required" in report["reason"]
    (report,) = work(Job(0, 1, trial, str(tmp_path / "1"), str(tmp_path), 1, [("x.py", "1 / 0")]))
    assert report["kind"] == "failed"
    assert "x.py:1: ZeroDivisionError: division by zero" in report["reason"]


def test_the_same_source_twice_is_once() -> None:
    Used("mine.py", MINE).load()
    entry = losses["tempered"]
    Used("elsewhere/mine.py", MINE).load()
    assert losses["tempered"] is entry
    assert (entry.origin, entry.shipped) == ("mine.py", False)


def test_other_source_under_the_same_name_is_refused_naming_both() -> None:
    Used("mine.py", MINE).load()
    words = refused(f"{MINE}# other\n", "yours.py")
    law = "a name is registered once, but losses has 'tempered' already, from mine.py"
    assert words == f"yours.py:{MINE[: MINE.index('@losses')].count(chr(10)) + 1}: {law}"
    assert losses["tempered"].origin == "mine.py"


def test_a_name_of_the_catalog_is_taken() -> None:
    words = refused(MINE.replace("Tempered", "Hinge"))
    assert words.endswith("losses has 'hinge' already, from sweeper.catalog.losses")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\nx = y\n", "wrong.py:2: NameError: name 'y' is not defined"),
        ("def f():\n    1 / 0\nf()\n", "wrong.py:2: ZeroDivisionError: division by zero"),
        ("x = = 1\n", "wrong.py:1: this is not valid Python: invalid syntax"),
        ("import nowhere_at_all\n", "wrong.py:1: ModuleNotFoundError: No module named 'nowhere"),
        ("raise SystemExit(0)\n", "wrong.py:1: SystemExit: 0"),
    ],
)
def test_what_a_file_raises_is_told_with_its_line(source: str, words: str) -> None:
    assert refused(source).startswith(words)


def test_a_file_that_fails_leaves_nothing_behind() -> None:
    before = set(losses)
    refused(f"{MINE}\n1 / 0\n")
    assert set(losses) == before
    Used("mine.py", MINE).load()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--use is a Python file, but .*: No such file"):
        bring([tmp_path / "nowhere.py"])
    with pytest.raises(InputError, match=r"--use is a Python file, but .*: Is a directory"):
        bring([tmp_path])


def test_what_is_kept_must_be_what_was_used(tmp_path: Path) -> None:
    used = Used("mine.py", MINE)
    (tmp_path / "use").mkdir()
    (tmp_path / used.stored).write_text(f"{MINE}# changed\n")
    with pytest.raises(InputError, match="this file was changed"):
        kept(tmp_path, [used.plain()])


def test_use_is_set_in_the_file_or_on_the_command_line(desk: Path) -> None:
    with pytest.raises(InputError, match="named in the space, or by --use"):
        load(desk / "mine.yaml", use=[desk / "mine.py"], overrides=["use=[a.py]"])


def test_commands_that_read_the_catalog_know_a_users_technique(desk: Path) -> None:
    for words in (("catalog", "tempered"), ("cite", "mine.yaml")):
        done = CliRunner().invoke(app, [*words, "--use", "mine.py"], catch_exceptions=False)
        assert done.exit_code == 0
    assert "@misc{alpaydin1998" in done.stdout


def trial(*words: str) -> list[str]:
    arguments = ["trial", *words, "--use", "mine.py"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return list(done.stdout.splitlines())


def test_a_trial_that_names_its_data_trains_on_it(desk: Path) -> None:
    text = SPACE.replace("trial:", "trial:\n  data: {ring: {length: 200}}")
    text = text.replace("{dcgan: {channels: 4}}", "mlp_gan")
    Path("mine.yaml").write_text(text)
    assert "fid_random_conv_ring" in trial("mine.yaml")[0]
    kept = json.loads(Path("results/mine-trial/trial.json").read_text())
    (file,) = kept["use"]
    assert kept["data"]["ring"]["length"] == 200
    # And so does the trial that was written down, with the file that was kept beside it.
    again = trial("results/mine-trial/trial.json", "--use", f"results/mine-trial/{file}")
    assert "fid_random_conv_ring" in again[0]
    assert again[0].split()[:4] == trial("mine.yaml")[0].split()[:4]
    assert "fid_random_conv_digits" in trial("mine.yaml", "--data", "digits", *SMALL)[0]


SMALL = ("--set", "architecture={dcgan: {channels: 4}}")


def test_a_trial_round_by_round(desk: Path) -> None:
    lines = trial("mine.yaml", "--debug", "--steps", "2")
    assert [line.split()[:4] for line in lines] == [
        ["round", "1", "8", "images"],
        ["round", "2", "16", "images"],
    ]
    for line in lines:
        for shown in ("discriminator.adversarial", "generator.adversarial", "generator gradient"):
            assert shown in line
    assert len(trial("mine.yaml", "--debug")) == 6
    assert not Path("results/mine-trial").exists()
    done = CliRunner().invoke(app, ["trial", "mine.yaml", "--steps", "2"])
    assert done.exit_code == 2
    assert "rounds are counted with --debug" in done.output


def test_cuda_blocks_while_debugging(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "0")
    trial("mine.yaml", "--debug", "--steps", "1")
    assert os.environ["CUDA_LAUNCH_BLOCKING"] == "1"


@pytest.fixture
def installed(desk: Path) -> Path:
    """A package with an entry point."""
    site = desk / "site"
    info = site / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sweeper.techniques]\ntheirs = theirs\n")
    (site / "theirs.py").write_text(MINE)
    return site


def test_installed_techniques_are_among_the_others(installed: Path) -> None:
    done = typed("catalog", "tempered", paths=str(installed))
    assert done.returncode == 0, done.stderr
    assert f"tempered, of the losses, {installed / 'theirs.py'}" in done.stdout


def test_installed_techniques_that_fail_are_named(installed: Path) -> None:
    (installed / "theirs.py").write_text("1 / 0\n")
    done = typed("catalog", paths=str(installed))
    assert done.returncode == 4
    words = "those of the entry point theirs = theirs raise ZeroDivisionError: division by zero"
    assert words in done.stderr
    assert "Traceback" not in done.stderr
