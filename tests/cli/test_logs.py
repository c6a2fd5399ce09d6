"""What happened, told: the log of a trial, the story of a sweep, and a failure seen again."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.ledger.ledger import Ledger
from sweeper.space.source import InputError
from sweeper.sweep.executor import InlineExecutor, Job, Sweep
from sweeper.sweep.logs import logged, logs
from sweeper.sweep.storage import Storage
from tests.sweep.plans import small

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z \S+ attempt \d+ "


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep of two trials."""
    plan = small(tmp_path_factory.mktemp("logs") / "results", trials=2)
    with Ledger(plan.folder) as ledger:
        InlineExecutor().run(Sweep(plan, ledger))
    return plan.folder


def job(folder: Path, attempt: int = 1) -> Job:
    return Job(0, attempt, {}, str(folder), str(folder), 1)


class OddWarning(Warning):
    """Like nothing else."""


@logged
def noisy(job: Job) -> Iterator[dict[str, Any]]:
    logging.getLogger("sweeper.trial").info("a word")
    warnings.warn("a rate of 0 trains nothing", OddWarning, stacklevel=1)
    yield {"kind": "measured", "images": 1200, "score": 4.5, "seconds": 2.0}
    yield {"kind": "failed", "reason": "RuntimeError: no", "traceback": "Traceback:\n  no\n"}


def test_a_worker_keeps_the_log_of_its_trial(tmp_path: Path) -> None:
    with pytest.warns(OddWarning, match="trains nothing"):
        list(noisy(job(tmp_path)))
    with pytest.warns(OddWarning):
        list(noisy(job(tmp_path, attempt=2)))
    text = (tmp_path / "log.txt").read_text()
    for attempt in (1, 2):
        assert re.search(rf"^{STAMP}INFO a word$", text, re.M)
        assert f"attempt {attempt} INFO at 1,200 images: score 4.5, after 2.0 s\n" in text
        assert f"attempt {attempt} ERROR failed: RuntimeError: no\nTraceback:\n  no\n" in text
    assert "OddWarning: a rate of 0 trains nothing" in text


def test_the_log_hears_nothing_but_its_worker(tmp_path: Path) -> None:
    logger, shown = logging.getLogger("sweeper"), warnings.showwarning
    handlers, level = list(logger.handlers), logger.level
    reports = noisy(job(tmp_path))
    with pytest.warns(OddWarning):
        next(reports)
    logger.warning("somebody else")
    reports.close()  # type: ignore[attr-defined]
    assert "somebody else" not in (tmp_path / "log.txt").read_text()
    assert (logger.handlers, logger.level) == (handlers, level)
    assert warnings.showwarning is shown


def test_a_full_disk_or_a_link_costs_the_log_and_not_the_trial(tmp_path: Path) -> None:
    aim = tmp_path / "aim"
    aim.write_text("")
    (tmp_path / "log.txt").symlink_to(aim)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.warns(OddWarning):
            assert len(list(noisy(job(folder)))) == 2
    assert aim.read_text() == ""


@pytest.mark.parametrize("word", ["1", "001", "t001", "T1", "00001"])
def test_a_trial_by_any_of_its_names(swept: Path, word: str) -> None:
    done = CliRunner().invoke(app, ["logs", str(swept), word], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines
    assert all(re.match(STAMP, line) for line in lines)
    assert "images: score" in lines[0]


def test_an_unknown_trial_is_told_the_range(swept: Path) -> None:
    with pytest.raises(InputError, match=r"is one of t000 to t001, but got 't045'$"):
        list(logs(swept, "t045"))
    with pytest.raises(InputError, match=r"but got 'to01'; did you mean t001\?$"):
        list(logs(swept, "to01"))
    with pytest.raises(InputError, match=r"holds ledger.sqlite, but .* does not"):
        list(logs(swept.parent, "1"))


def test_the_story_of_a_sweep(swept: Path) -> None:
    lines = list(logs(swept, None))
    with Ledger(swept, write=False) as ledger:
        events = ledger.events
    assert len(lines) == len(events)
    assert re.match(r"\d{4}-.*Z  t000  started +0.000 kimg  attempt 1$", lines[0])
    assert re.search(
        r"t000  measured +0.\d+ kimg  score [\d.,]+, continue$", "\n".join(lines), re.M
    )
    assert lines[-1].split("kimg  ")[-1].startswith(("completed: ", "stopped: "))


def test_a_log_is_shown_without_control_characters(swept: Path) -> None:
    path = swept / "trials" / "00000" / "log.txt"
    before = path.read_bytes()
    path.write_bytes(b"\x1b]0;owned\x07\x9b31m plain\xc2\x9b\n")
    try:
        (line,) = logs(swept, "0")
    finally:
        path.write_bytes(before)
    assert "plain" in line
    assert not set(line) & {"\x1b", "\x07", "\x9b"}


def test_a_log_is_followed_until_its_trial_has_ended(tmp_path: Path) -> None:
    plan = small(tmp_path / "results", trials=1)
    path = plan.folder / "trials" / "00000" / "log.txt"
    heard: list[str] = []
    with Ledger(plan.folder) as ledger:
        record = ledger.add_trial({}, {})
        ledger.started(0)
        listener = threading.Thread(
            target=lambda: heard.extend(logs(plan.folder, "0", follow=True)), daemon=True
        )
        told = threading.Thread(
            target=lambda: heard_of.extend(logs(plan.folder, None, follow=True)), daemon=True
        )
        heard_of: list[str] = []
        listener.start()
        told.start()
        path.parent.mkdir(parents=True)
        with path.open("a", buffering=1) as file:
            for i in range(3):
                file.write(f"line {i}\nhalf")
                time.sleep(0.7)
                file.write("\n")
        assert listener.is_alive()
        ledger.ended(record.number, "failed", "no more")
        listener.join(30)
        told.join(30)
    assert not listener.is_alive()
    assert not told.is_alive()
    assert heard == ["line 0", "half", "line 1", "half", "line 2", "half"]
    assert [line.split()[3] for line in heard_of] == ["started", "ended"]
    assert heard_of[-1].endswith("failed: no more")


def test_a_log_of_another_node_is_read_from_the_storage(tmp_path: Path) -> None:
    plan = small(tmp_path / "results", trials=1)
    plan.write({"storage": str(tmp_path / "shared")})
    with Ledger(plan.folder) as ledger:
        ledger.add_trial({}, {})
        ledger.started(0)
    trial = Storage(str(tmp_path / "shared")).under(plan.id).under("trials/00000")
    with pytest.raises(InputError, match=r"has a log, but .* has none of t000, which is running"):
        list(logs(plan.folder, "0"))
    for attempt, text in (("1-aaaa", b"one\n"), ("2-bbbb", b"one\ntwo\n")):
        trial.write(f"{attempt}/begun", b"")
        trial.write(f"{attempt}/log.txt", text)
    assert list(logs(plan.folder, "0")) == ["one", "two"]
    # What this node has is shown where it is ahead, and where the storage is gone.
    path = plan.folder / "trials" / "00000" / "log.txt"
    path.parent.mkdir(parents=True)
    path.write_text("one\ntwo\nthree\n")
    assert list(logs(plan.folder, "0")) == ["one", "two", "three"]
    (tmp_path / "shared").rename(tmp_path / "gone")
    (tmp_path / "shared").write_text("no folder")
    assert list(logs(plan.folder, "0")) == ["one", "two", "three"]


def test_a_log_is_read_without_the_engine(swept: Path) -> None:
    code = "import sys; from sweeper.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, "logs", os.fspath(swept), "0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"ray", "mlflow", "optuna"}


BREAKS = '''
from torch import Tensor

from sweeper.catalog.families import losses
from sweeper.game import Loss, Scores

TURNS = [0]


@losses.register()
class Brittle(Loss):
    """Breaks after a while."""

    def discriminator(self, scores: Scores) -> Tensor:
        TURNS[0] += 1
        if TURNS[0] > 9:
            raise RuntimeError("the tenth turn is one too many")
        return (scores.fake - scores.real).mean()

    def generator(self, scores: Scores) -> Tensor:
        return -scores.fake.mean()
'''
BRITTLE = """
use: [brittle.py]
extends: base/dcgan.yaml
trial:
  loss: brittle
  architecture: {dcgan: {channels: 4}}
  batch: {size: 8}
  evaluation: {features: random_conv, samples: 16, full_samples: 16, every_kimg: 0.048}
budget: {max: 0.144}
search: {trials: 1}
"""


def typed(desk: Path, *words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "sweeper.cli", *words],
        capture_output=True,
        text=True,
        cwd=desk,
        env={**environment, "OMP_NUM_THREADS": "1"},
        input=told,
        timeout=300,
    )


def fingerprint(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".sqlite-shm", ".sqlite-wal")
    }


def test_a_failure_is_seen_again_and_nothing_is_touched(tmp_path: Path) -> None:
    (tmp_path / "brittle.py").write_text(BREAKS)
    (tmp_path / "brittle.yaml").write_text(BRITTLE)
    done = typed(tmp_path, "run", "brittle.yaml", "--inline", "--use", "brittle.py")
    folder = tmp_path / "results" / "brittle"
    log = (folder / "trials" / "00000" / "log.txt").read_text()
    assert "ERROR failed: RuntimeError: the tenth turn is one too many\nTraceback" in log, done
    before = fingerprint(folder)
    (checkpoint,) = (folder / "trials" / "00000" / "checkpoints").glob("*.pt")
    assert checkpoint.name.startswith("000000000048-")

    done = typed(tmp_path, "debug", "results/brittle", "t000")
    assert done.returncode == 1, done
    assert "once more from its newest checkpoint, at 48 images" in done.stdout
    # Nine turns of eight images after the checkpoint, in a process that has seen none of them.
    assert re.search(
        r"^at 120 images: RuntimeError: the tenth turn .*brittle\.py:\d+\)$", done.stdout, re.M
    )
    assert "Traceback" not in done.stdout + done.stderr
    shown = re.search(r"^the traceback is in (results/\.cache/debug/.*)$", done.stdout, re.M)
    assert shown, done.stdout
    text = (tmp_path / shown[1]).read_text()
    assert text.startswith("Traceback")
    assert "the tenth turn is one too many" in text
    assert fingerprint(folder) == before
    assert [p.name for p in (tmp_path / "results/.cache/debug").iterdir()] == [Path(shown[1]).name]

    done = typed(tmp_path, "debug", "results/brittle", "0", "--pdb", told="p TURNS[0] * 1000\nq\n")
    assert "10000" in done.stdout, done
    assert fingerprint(folder) == before


def test_what_went_well_goes_well_again(swept: Path) -> None:
    done = CliRunner().invoke(app, ["debug", str(swept), "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].endswith("it went well this time")
