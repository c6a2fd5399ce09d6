"""Ray Tune as the executor: it brings workers, placement and node loss, and keeps no state that
matters."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sweeper.sweep.where import Cluster, ClusterError, Here, lent, rule, token_of

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
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SHORT = 24
STARTS = 3
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def cluster(address: str | None, threads: int) -> Iterator[Cluster]:
    """The Ray of the address rule: join it, or start one of our own, and end what was started.
    Workers compute in so many threads. Raises ClusterError."""
    place = rule(address, Here())
    match place.kind:
        case "local":
            ray_there = local_ray(threads)
        case "join":
            ray_there = joined(place.address, place.by, threads)
        case "submit":
            law = "a process drives a sweep on a Ray that its machine belongs to"
            raise ClusterError(f"{law}, but {place.by} names {place.address or 'a cluster'}")
    with ray_there as found:
        yield found


@contextlib.contextmanager
def joined(address: str, by: str, threads: int) -> Iterator[Cluster]:
    """A Ray that this machine belongs to. It is left as it was found. Raises ClusterError."""
    there = {**TUNE, **dict.fromkeys(THREADS, str(threads))}
    # Else Ray takes this machine's name on the network for its loopback, where nobody may listen.
    near = LOCAL if address.rpartition(":")[0] in LOOPBACK else {}
    # As ray start does it: a token that is there is used, unless it is said not to be.
    mode = "token" if token_of(os.environ) else "disabled"
    with lent({**TUNE, **near, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", mode)}):
        import ray

        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": there},
            )
        except Exception as error:
            raise ClusterError(f"the Ray at {address} cannot be joined: {error}") from None
        try:
            yield seen(f"the Ray at {address} ({by})")
        finally:
            ray.shutdown()


@contextlib.contextmanager
def local_ray(threads: int) -> Iterator[Cluster]:
    """A Ray on this machine: loopback only, a token of its own, its session folder gone at the end.

    Raises ClusterError when it does not come up.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": own_token()}
    own = {name: os.environ.get(name, value) for name, value in token.items()}
    folders: list[str] = []
    with lent({**TUNE, **LOCAL, **dict.fromkeys(THREADS, str(threads)), **own}):
        try:
            started(folders)
            yield seen("a local Ray")
        finally:
            import ray

            ray.shutdown()
            for folder in folders:
                removed(folder)


@functools.cache
def own_token() -> str:
    """What a Ray of our own asks for. One for all that a process starts: Ray reads it once."""
    return secrets.token_hex(32)


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
