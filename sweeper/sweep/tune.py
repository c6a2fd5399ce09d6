"""Ray Tune as the executor: it brings workers, placement and node loss, and keeps no state that
matters."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Read by Ray when it is imported. It makes a local Ray listen on loopback alone.
LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
SHORT = 24
STARTS = 3
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ClusterError(RuntimeError):
    """No Ray could be started or joined."""


@dataclass(frozen=True)
class Cluster:
    """The Ray that a sweep runs on."""

    where: str
    nodes: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{self.where}: {nodes}, {self.cpus} CPUs, {self.gpus} GPUs"


@contextlib.contextmanager
def cluster(address: str | None, threads: int) -> Iterator[Cluster]:
    """Start a Ray of our own, listening on loopback, or join one. Ends what it started. Raises
    ClusterError."""
    os.environ.update(TUNE)
    address = address or os.environ.get("RAY_ADDRESS") or running_head()
    if address == "local":
        address = None
    if address is None:
        with local_ray(threads) as found:
            yield found
        return
    check_address(address)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise ClusterError(f"no Ray answers at {address}: {error}") from None
    try:
        yield seen(f"the Ray at {address}")
    finally:
        ray.shutdown()


@contextlib.contextmanager
def local_ray(threads: int) -> Iterator[Cluster]:
    """A Ray on this machine: loopback only, a token of its own, its session folder gone at the end.

    Raises ClusterError when it does not come up.
    """
    os.environ.update(LOCAL)
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folders: list[str] = []
    try:
        started(folders)
        yield seen("a local Ray")
    finally:
        import ray

        ray.shutdown()
        for folder in folders:
            removed(folder)


def started(folders: list[str]) -> None:
    """Start a Ray, noting the folder it is given. A busy machine may need a second try, since Ray
    waits half a minute for its own parts and no longer."""
    import ray

    # Unix sockets have short names, so the folder's path must be short too.
    system = tempfile.gettempdir()
    for left in reversed(range(STARTS)):
        folders.append(
            tempfile.mkdtemp(prefix="swp-", dir=system if len(system) <= SHORT else "/tmp")
        )
        try:
            ray.init(
                address="local",
                num_cpus=os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=folders[-1],
            )
        except Exception as error:
            ray.shutdown()
            if not left:
                law = "a local Ray starts within half a minute"
                raise ClusterError(f"{law}, but not here: {error}; --inline does without") from None
        else:
            return


def removed(folder: str) -> None:
    """Remove a session folder, to which parts of Ray may still write for a moment."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return
        time.sleep(0.1)


def seen(where: str) -> Cluster:
    import ray

    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes = [n for n in ray.nodes() if n["Alive"]]  # type: ignore[no-untyped-call]
    return Cluster(where, len(nodes), int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def running_head() -> str | None:
    """The address of the Ray whose head this machine is, if ``ray start`` left one running."""
    marker = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    try:
        address = marker.read_text().strip()
        check_address(address)
    except (OSError, ClusterError):
        return None
    return address


def check_address(address: str) -> None:
    """Refuse at once what Ray would wait minutes for."""
    if "://" in address:
        raise ClusterError(
            f"--address is auto, local or HOST:PORT of a Ray head, but got {address!r}"
        )
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            f"--address is auto, local or HOST:PORT of a Ray head, but got {address!r}"
        )
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError as error:
        raise ClusterError(f"no Ray answers at {address}: {error.strerror or error}") from None
