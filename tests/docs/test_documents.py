"""What the documents point at is there, and nothing a reader would type goes untried."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, PAGES, ROOT, catalog_table, commands, fences, read

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))

INSTALLING = ".ci/run installs from the same lock; the builds behind it are tested in test_wheel.py"
ELSEWHERE = {
    "make demo": "test_make_knows_its_targets; its one command is the README's, at full length",
    "ray up cluster.yaml && sweeper run search_spaces/ttur.yaml": (
        "tests/cluster/test_ray_up.py types both, on hosts of its own"
    ),
    "make test": "test_make_knows_its_targets; it is what runs this",
    "make lint": "test_make_knows_its_targets; run by .ci/run",
    "python3 -m venv .venv": INSTALLING,
    ".venv/bin/pip install --require-hashes -r requirements.lock": INSTALLING,
    ".venv/bin/pip install --no-deps --no-build-isolation -e .": INSTALLING,
    ".venv/bin/pre-commit install": "test_the_hooks_are_valid; it would write into this checkout",
    ".venv/bin/python -m pytest tests/contracts -k score_drift": "test_contributing.py, in a copy",
    ".venv/bin/sweeper verify score_drift": "test_contributing.py, in a copy",
}
"""Commands that are not run as they stand, and how they are covered."""


@every_document
def test_commands_are_shown_in_one_way(path: Path) -> None:
    for language, content in fences(path.read_text("utf-8")):
        assert language not in ("bash", "sh", "shell", "zsh")
        assert language == "console" or not re.search(r"^\$ ", content, re.MULTILINE)
        if language == "console":
            assert all(line.startswith("$ ") for line in content.splitlines())


@every_document
def test_every_command_is_tried(path: Path) -> None:
    for command in commands(path.read_text("utf-8")):
        known = command in ELSEWHERE or (
            (path.name == "README.md" or path in PAGES) and command.startswith("sweeper ")
        )
        collected = command.startswith(".venv/bin/python -m pytest ")
        measured = command.removeprefix("OMP_NUM_THREADS=1 ").startswith("benchmarks/")
        assert known or collected or measured, command


def test_nothing_is_excused_that_is_not_there() -> None:
    said = {command for path in DOCUMENTS for command in commands(path.read_text("utf-8"))}
    assert set(ELSEWHERE) <= said


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    text = FENCED.sub("", path.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}


FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@every_document
def test_tests_that_are_named_exist(path: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text("utf-8")):
        assert f"def {name}(" in read(file), f"{file}::{name}"


def test_the_readme_lists_the_catalog() -> None:
    shown = re.search(r"<!-- catalog -->\n(.*)\n<!-- /catalog -->", read("README.md"), re.DOTALL)
    assert shown
    assert shown[1].strip() == catalog_table(), f"the README's table is to be\n{catalog_table()}"


@pytest.mark.parametrize("target", ["demo", "docs", "test", "test-slow", "lint", "lock", "help"])
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (target == "demo") == ("sweeper run search_spaces/ttur.yaml" in done.stdout)


def test_without_a_fitting_python_make_says_so(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-uv.lock"):
        (tmp_path / name).write_text(read(name))
    done = subprocess.run(
        ["make", "PYTHON=false", "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_hooks_are_valid() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def test_what_ci_runs_is_a_script() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True, timeout=60)


def test_the_locks_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-uv.lock", "Makefile", ".ci/run"):
        assert "://" not in read(name), name
