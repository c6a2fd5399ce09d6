"""A jail for programs that end every Ray they can see, as ``ray stop`` does: processes, mounts,
network, /tmp and /dev/shm of their own, and a loopback alone. All in it ends with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SPACES = ["--pid", "--mount", "--net", "--ipc", "--uts"]
SETUP = """
mount --make-rprivate / &&
mount -t tmpfs tmpfs /dev/shm &&
mount --bind "$0" /tmp &&
mount -t proc proc /proc &&
ip link set lo up &&
exec "$@"
"""


def missing() -> str | None:
    """Why there can be no jail here, or None."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root may make namespaces"
    for program, package in (("unshare", "util-linux"), ("mount", "mount"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            return f"{program} is not here (Debian: {package})"
    tried = subprocess.run(["unshare", "--fork", *SPACES, "true"], capture_output=True, text=True)
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode else None


def jailed(
    words: Sequence[str], tmp: Path, timeout: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a jail whose /tmp is a folder that must lie elsewhere. What it prints is
    returned, errors among it; all its processes are gone then."""
    command = ["unshare", "--fork", "--kill-child", *SPACES, "sh", "-c", SETUP, str(tmp), *words]
    return subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        start_new_session=True,
    )
