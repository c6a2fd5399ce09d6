"""What a shell proposes on the Tab key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "sweeper"


def asked(shell: str, typed: str) -> set[str]:
    """What is proposed after a line that was typed, as the shells' own scripts ask for it."""
    words = typed.split(" ")
    environment = {
        "bash": {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": typed},
        "fish": {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        [PROGRAM],
        env={**os.environ, "_SWEEPER_COMPLETE": f"complete_{shell}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return {word.strip('"(), ') for word in done.stdout.replace(":", " ").split()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_and_options_are_proposed(shell: str) -> None:
    assert {"resume", "replay", "report", "run"} <= asked(shell, "sweeper r")
    assert "status" not in asked(shell, "sweeper r")
    assert {"--watch"} <= asked(shell, "sweeper status results/ttur --w")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_every_shell(shell: str) -> None:
    done = subprocess.run(
        [PROGRAM],
        env={**os.environ, "_SWEEPER_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"_SWEEPER_COMPLETE=complete_{shell}" in done.stdout
