"""Files from strangers execute nothing, and lead nowhere."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sweeper.config import Misfit
from sweeper.ledger.ledger import Ledger, LedgerError
from sweeper.report.page import write_report
from sweeper.report.ranking import load
from sweeper.report.table import top_lines
from sweeper.space.constraints import Constraint
from sweeper.space.source import InputError, parse_value, read
from sweeper.sweep.debug import debug
from sweeper.sweep.generate import generate
from sweeper.sweep.keeper import own_storage, recover
from sweeper.sweep.logs import logs
from sweeper.sweep.plan import Settings, new_name, prepare, reopen
from sweeper.sweep.pull import source
from sweeper.sweep.storage import Storage
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.start import read as weights_of
from tests.sweep.plans import small

OWNED = "owned"
"""The file that every attack here would make, in the working folder."""

CODE = f"open({OWNED!r}, 'w').close()"


@pytest.fixture(autouse=True)
def _untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever a test does, no attack succeeds."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / OWNED).exists()


class Evil:
    """What executes code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, (CODE,)


def test_the_attack_works_where_nothing_stops_it() -> None:
    pickle.loads(pickle.dumps(Evil()))
    assert Path(OWNED).exists()
    Path(OWNED).unlink()


YAML = [
    f'!!python/object/apply:builtins.exec ["{CODE}"]',
    f'!!python/object/new:os.system ["touch {OWNED}"]',
    f"!!python/object/apply:subprocess.check_call [[touch, {OWNED}]]",
    "!!python/name:os.system",
    "!!python/module:os",
]


@pytest.mark.parametrize("tagged", YAML)
def test_yaml_executes_nothing(tagged: str, tmp_path: Path) -> None:
    for text in (f"trial: {tagged}\n", f"extends: base/dcgan.yaml\ntrial:\n  loss: {tagged}\n"):
        (tmp_path / "space.yaml").write_text(text)
        with pytest.raises(InputError):
            prepare(Settings(Path("space.yaml"), out=tmp_path / "results"))
        tree = read(Path("space.yaml")).tree
        assert json.loads(json.dumps(tree, default=str))
    value = parse_value(tagged)
    assert not callable(value)
    assert type(value).__module__ != "os"


def checkpoint(folder: Path, images: int, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{images:012d}-{hashlib.sha256(data).hexdigest()[:16]}.pt"
    path.write_bytes(data)
    return path


def saved(state: object) -> bytes:
    torch.save(state, "draft.pt")
    return Path("draft.pt").read_bytes()


@pytest.mark.parametrize("form", ["zip", "pickle", "inside"])
def test_a_checkpoint_is_refused_as_damaged(form: str, tmp_path: Path) -> None:
    """Its name is right, since whoever made it could hash it, too."""
    bad = {
        "zip": lambda: saved(Evil()),
        "pickle": lambda: pickle.dumps(Evil(), protocol=2),
        "inside": lambda: saved({"images": 96, "gan": Evil()}),
    }[form]()
    folder = tmp_path / "checkpoints"
    checkpoint(folder, 48, saved({"images": 48}))
    path = checkpoint(folder, 96, bad)
    assert Checkpoints(folder).load() == {"images": 48}
    assert path.with_suffix(".bad").exists()
    path.with_suffix(".bad").rename(path)
    with pytest.raises(Misfit, match="is not a file of weights"):
        weights_of(path)
    checkpoint(folder, 48, saved({"images": 48})).unlink()
    with pytest.raises(Misfit, match="no sound checkpoint"):
        weights_of(tmp_path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep whose technique would tell if it were run again."""
    desk = tmp_path_factory.mktemp("desk")
    (desk / "mine.py").write_text(TECHNIQUE)
    (desk / "mine.yaml").write_text(SPACE)
    done = typed(desk, "run", "mine.yaml", "--inline", "--use", "mine.py", "--name", "theirs")
    assert done.returncode == 0, done.stderr
    (desk / OWNED).unlink()
    return desk


TECHNIQUE = f"""
from torch import Tensor

from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores

{CODE}


@losses.register()
class Mine(Loss):
    def discriminator(self, scores: Scores) -> Tensor:
        return (scores.fake - scores.real).mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()
"""
SPACE = """
use: [mine.py]
extends: base/dcgan.yaml
trial:
  loss: mine
  architecture: {dcgan: {channels: 4}}
  batch: {size: 8}
  evaluation: {features: random_conv, samples: 16, full_samples: 16}
budget: {max: 0.048}
search: {trials: 1}
"""


def typed(desk: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *words],
        capture_output=True,
        text=True,
        cwd=desk,
        env={**environment, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )


@pytest.fixture
def theirs(swept: Path, tmp_path: Path) -> Path:
    """The results folder as it comes from a stranger: every byte and every time as it was."""
    copy = tmp_path / "results" / "theirs"
    shutil.copytree(swept / "results" / "theirs", copy)
    shutil.copytree(swept / "results" / ".cache", tmp_path / "results" / ".cache")
    return copy


def test_looking_at_a_strangers_results_runs_none_of_their_code(theirs: Path) -> None:
    assert list((theirs / "use").glob("*.py"))
    write_report(theirs)
    assert top_lines(theirs, 3)
    assert list(logs(theirs, None))
    assert list(logs(theirs, "0"))


GOING_ON: dict[str, Callable[[Path], object]] = {
    "resume": lambda folder: reopen(folder, None),
    "generate": lambda folder: list(generate(folder, 4, Path("grid.png"), None, 0)),
    "debug": lambda folder: debug(folder, "0", print),
}


@pytest.mark.parametrize("command", GOING_ON)
def test_going_on_with_them_takes_a_word(theirs: Path, command: str) -> None:
    (file,) = (theirs / "use").glob("*.py")
    there = f"results/theirs/use/{file.name}"
    law = f"its trials run the code in {there}, which was brought from elsewhere"
    with pytest.raises(InputError, match=f"{law}: if you trust it, add --use {there}$"):
        GOING_ON[command](theirs)


def test_the_word_is_the_file_itself(theirs: Path, tmp_path: Path) -> None:
    (file,) = (theirs / "use").glob("*.py")
    (tmp_path / "other.py").write_text("x = 1\n")
    done = typed(tmp_path, "generate", "results/theirs", "--use", "other.py")
    assert done.returncode == 2
    assert not Path(OWNED).exists()
    done = typed(tmp_path, "generate", "results/theirs", "--use", os.path.relpath(file))
    assert done.returncode == 0, done.stderr
    Path(OWNED).unlink()  # it was trusted, and run


def test_ones_own_results_need_no_word(swept: Path) -> None:
    done = typed(swept, "generate", "results/theirs")
    assert done.returncode == 0, done.stderr
    assert (swept / OWNED).exists()
    (swept / OWNED).unlink()
    (file,) = (swept / "results" / "theirs" / "use").glob("*.py")
    text = file.read_text()
    file.write_text(text)  # by whomever
    assert typed(swept, "generate", "results/theirs").returncode == 2
    assert not (swept / OWNED).exists()


def test_a_file_of_techniques_is_the_one_that_is_listed(theirs: Path, tmp_path: Path) -> None:
    file, plain = theirs / "sweep.json", json.loads((theirs / "sweep.json").read_text())
    (tmp_path / "evil.py").write_text(CODE)
    sha = hashlib.sha256(CODE.encode()).hexdigest()
    for path in ("../../evil.py", str(tmp_path / "evil.py")):
        plain["use"] = [{"name": "evil.py", "sha256": sha, "file": path}]
        file.write_text(json.dumps(plain))
        with pytest.raises(InputError, match="this file was changed"):
            reopen(theirs, None)


@pytest.mark.parametrize(
    "link", ["trials/00000/log.txt", "ledger.lock", "trials/00001", "report.html"]
)
def test_a_results_folder_does_not_lead_out(theirs: Path, tmp_path: Path, link: str) -> None:
    aim = tmp_path / "aim"
    aim.mkdir() if link == "trials/00001" else aim.write_text("mine")
    (theirs / link).unlink(missing_ok=True)
    (theirs / link).symlink_to(aim)
    law = f"a results folder holds its own files, but .*{link} leads to {aim}"
    with pytest.raises(LedgerError, match=law):
        write_report(theirs)
    for going_on in GOING_ON.values():
        with pytest.raises(InputError, match=law):
            going_on(theirs)
    assert list(aim.iterdir()) == [] if aim.is_dir() else aim.read_text() == "mine"


def test_a_link_within_is_no_matter(theirs: Path, tmp_path: Path) -> None:
    (theirs / "best").symlink_to("trials/00000")
    (tmp_path / "linked").symlink_to(theirs)
    assert write_report(tmp_path / "linked").is_file()


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "/tmp/x", "a/b", ".cache", "x/"])
def test_a_sweep_is_named_like_a_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the name of a folder"):
        new_name(tmp_path, name)


def test_a_space_names_no_folder_elsewhere(tmp_path: Path) -> None:
    Path("space.yaml").write_text("name: ../../x\nextends: base/dcgan.yaml\n")
    with pytest.raises(InputError, match="is the name of a folder"):
        prepare(Settings(Path("space.yaml"), out=tmp_path / "results"))


def test_a_name_that_leads_elsewhere_is_taken(tmp_path: Path) -> None:
    (tmp_path / "ttur").symlink_to(tmp_path / "nowhere")
    assert new_name(tmp_path, "ttur") == "ttur-2"


@pytest.mark.parametrize("id", ["../../../x", "/tmp/x", "c0ffee", 7, None])
def test_an_id_is_no_path(theirs: Path, id: object) -> None:
    file = theirs / "sweep.json"
    plain = json.loads(file.read_text())
    plain |= {"id": id, "use": []}
    file.write_text(json.dumps(plain))
    resolved = theirs / "resolved.yaml"
    text = resolved.read_text().replace("mine: {}", "hinge: {}")
    resolved.write_text(re.sub(r"^use: .*\n", "", text, flags=re.MULTILINE))
    with pytest.raises(InputError, match="this is not what sweeper wrote there"):
        reopen(theirs, None)


def test_parquet_executes_nothing(theirs: Path) -> None:
    for name in ("trials", "measurements"):
        path = theirs / f"{name}.parquet"
        table = pq.read_table(path)
        metadata = {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(Evil()),
        }
        fields = [field.with_metadata(metadata) for field in table.schema]
        pq.write_table(table.cast(pa.schema(fields)), path)
        assert (
            b"py_extension_type" in pq.read_schema(path).field(0).metadata[b"ARROW:extension:name"]
        )
    assert load(theirs).trials
    write_report(theirs)


def test_a_ledger_executes_nothing(theirs: Path) -> None:
    with sqlite3.connect(theirs / "ledger.sqlite") as database:
        database.execute("UPDATE trials SET config = ?", (pickle.dumps(Evil()),))
    database.close()
    with pytest.raises(LedgerError, match="a ledger is a sound sqlite file"):
        Ledger(theirs, write=False)


def test_a_plan_executes_nothing(theirs: Path) -> None:
    file = theirs / "sweep.json"
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="this is not what sweeper wrote there"):
        reopen(theirs, None)


def test_a_report_holds_no_script_of_theirs(theirs: Path) -> None:
    file, bad = theirs / "sweep.json", "<script>alert(1)</script>"
    plain = json.loads(file.read_text())
    plain |= {"name": bad, "command": bad, "space": bad, "metric": bad}
    plain["data"]["name"] = bad
    plain["protocol"] = {bad: bad}
    file.write_text(json.dumps(plain))
    page = write_report(theirs).read_text()
    assert "alert(1)" in page
    assert "<script" not in page


CALLS = [
    f"exec({CODE!r})",
    f"__import__('os').system('touch {OWNED}')",
    "(1).__class__",
    "[].__class__.__base__.__subclasses__()",
    "loss['x']",
    "f'{loss}'",
    "lambda: 1",
    "[x for x in loss]",
    "(x := 1)",
    "10 ** 10 ** 10",
    "1 << 99999999",
    "await x",
    "b'x'",
    "...",
]


@pytest.mark.parametrize("text", CALLS)
def test_a_constraint_is_arithmetic(text: str) -> None:
    with pytest.raises(ValueError, match=r"a constraint is|a path is"):
        Constraint.parse(text)


@pytest.mark.parametrize("path", ["loss.__class__", "__builtins__", "loss.items", "__name__"])
def test_a_constraint_reaches_nothing_but_the_trial(path: str) -> None:
    """What is not in the trial has no value, so that whatever is said of it holds."""
    trial = {"loss": {"hinge": {}}}
    assert Constraint.parse(f"{path} == 1").holds(trial)
    assert Constraint.parse(f"{path} != 1").holds(trial)
    with pytest.raises(ValueError, match="not a number"):
        Constraint.parse("loss * 1000000000 == 1").holds(trial)


@pytest.fixture
def bugged(theirs: Path, tmp_path: Path) -> Path:
    """A stranger's folder that names a storage, which would tell them who looks at it."""
    plain = json.loads((theirs / "sweep.json").read_text())
    plain |= {"storage": str(tmp_path / "storage"), "use": []}
    (theirs / "sweep.json").write_text(json.dumps(plain))
    return theirs


DIALLING: dict[str, Callable[[Path], object]] = {
    "resume": lambda folder: recover(folder, None, print),
    "pull": lambda folder: source(None, folder),
}


@pytest.mark.parametrize("command", DIALLING)
def test_a_storage_that_a_stranger_names_takes_a_word(
    bugged: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "__init__", dialled)
    option = {"resume": "--storage", "pull": "--from"}[command]
    law = "was brought from elsewhere.*if you trust it"
    with pytest.raises(InputError, match=f"{law}, add {option} {tmp_path}/storage$"):
        DIALLING[command](bugged)


def test_looking_at_a_log_dials_no_storage_of_a_strangers(
    bugged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "__init__", dialled)
    assert list(logs(bugged, "0"))


def dialled(self: Storage, uri: str) -> None:
    raise AssertionError(f"{uri} was dialled")


def test_a_storage_of_ones_own_takes_no_word(tmp_path: Path) -> None:
    plan = small(tmp_path / "results", trials=1)
    plan.write({"storage": str(tmp_path / "storage")})
    assert own_storage(plan.folder) == str(tmp_path / "storage")
    copy = tmp_path / "copy"
    shutil.copytree(plan.folder, copy)
    assert own_storage(copy) is None
