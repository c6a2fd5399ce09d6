"""What a sweep says of the code that it was run from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sweeper.sweep.environment import commit, environment


def git(*words: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    return subprocess.run(
        ["git", *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_is_that_of_the_folder_it_is_typed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None
    git("init", "-q")
    assert commit() is None
    (tmp_path / "space.yaml").write_text("name: mine\n")
    git("add", "space.yaml")
    git("commit", "-q", "-m", "mine")
    head = git("rev-parse", "HEAD")
    assert environment()["commit"] == head
    (tmp_path / "results").write_text("not the code's")
    assert commit() == head
    (tmp_path / "space.yaml").write_text("name: yours\n")
    assert commit() == f"{head}+"


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() is None
