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
TMP = Path("/tmp")
ROOT = Path(__file__).parents[2]
NEEDED = dict.fromkeys([ROOT, Path(sys.prefix), Path(sys.base_prefix)])
"""The project and its environment, which a jail sees even where they lie in /tmp."""
SETUP = """
mount --make-rprivate / &&
{kept}
mount -t tmpfs tmpfs /dev/shm &&
mount --rbind "$0" /tmp &&
mount -t proc proc /proc &&
ip link set lo up &&
exec "$@"
"""


def setup() -> str:
    """What is done in a jail before the command, by a shell whose $0 is to be /tmp."""
    kept = [(path, f'"$0/{path.relative_to(TMP)}"') for path in NEEDED if path.is_relative_to(TMP)]
    lines = [f"mkdir -p {there} && mount --bind {path} {there} &&" for path, there in kept]
    return SETUP.format(kept="\n".join(lines))


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
    command = ["unshare", "--fork", "--kill-child", *SPACES, "sh", "-c", setup(), str(tmp), *words]
    return subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        start_new_session=True,
    )
