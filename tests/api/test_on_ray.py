"""A sweep from Python whose trials run on a real local Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep.commands import SLOWER
from tests.sweep.plans import SPACES

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.xdist_group("ray")]

SCRIPT = """
import sys

from ruamel.yaml import YAML

import sweeper

space, out, *changed = sys.argv[1:]
read = YAML(typ="safe").load
overrides = {path: read(value) for path, value in (word.split("=", 1) for word in changed)}
results = sweeper.run(space, data="digits", trials=2, overrides=overrides, out=out, address="local")
assert results.trials.state.isin(["completed", "stopped"]).all(), results.trials.state
assert sweeper.load(results.folder).trials.equals(results.trials)
print("sampled", results.best.sample(4).shape)
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A system temp folder of our own, short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="swt-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_script_sweeps_on_ray(tmp_path: Path, temporary: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        environment.pop(name, None)
    words = [SPACES / "ttur.yaml", tmp_path, *SLOWER]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sampled (4, 8, 8)\n")
    assert (tmp_path / "ttur" / "report.html").is_file()
    assert list(temporary.glob("swp-*")) == []
