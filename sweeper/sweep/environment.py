"""What a sweep is run with: versions and the kind of machine, and not whose it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

import torch

import sweeper
from sweeper.trial.device import choose_device

LIBRARIES = ("torch", "ray", "optuna", "mlflow", "numpy")
GIT_TAKES = 5.0
"""Seconds after which a repository is too large to be asked about."""


def environment() -> dict[str, Any]:
    """Versions of Python, of sweeper and of what it stands on; the system, the processors that this
    process may use, the accelerator, if there is one, and the commit of the folder that this was
    typed in, if that is a git repository."""
    device = choose_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "sweeper": sweeper.__version__,
        "python": platform.python_version(),
        **{library: importlib.metadata.version(library) for library in LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "device": name,
        "commit": commit(),
    }


def commit() -> str | None:
    """What is checked out where this was typed, with a ``+`` where files have been changed since;
    None outside of a git repository."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+" if changed else head


def _git(*words: str) -> str:
    # A repository may name a program that watches its files: none is run for this.
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_TAKES,
    )
    return done.stdout.strip()
