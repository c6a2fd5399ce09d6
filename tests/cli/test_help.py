"""Help is immediate: it imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "ray", "mlflow", "optuna", "pandas", "numpy", "matplotlib", "sklearn"}
CODE = """
import sys
from typer.main import get_command
from typer.testing import CliRunner
from sweeper.cli import app

runner, commands = CliRunner(), sorted(get_command(app).commands)
for arguments in ([], *([command] for command in commands)):
    shown = runner.invoke(app, [*arguments, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage" in shown.output
print(*commands)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120
    )
    commands, modules = (set(line.split()) for line in done.stdout.splitlines())
    known = {"run", "resume", "trial", "report", "top", "generate", "ui"}
    assert known | {"catalog", "cite", "verify"} <= commands
    assert not modules & HEAVY
