"""A Ray of several nodes on this machine, whose GPUs are only counted.

``python -m tests.cluster.fakes NODES CPUS GPUS`` brings one up beside a head that has neither,
prints its address, and takes it down when its standard input is closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = 80 * 2**20
STARTS = 3
"""A busy machine may need another try: Ray's raylet waits 15 seconds for the processes that belong
to it, and ends."""
QUIET = {
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


@contextlib.contextmanager
def fakes(nodes: int, cpus: int, gpus: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Such a Ray: its address, and the environment of its drivers."""
    with tempfile.TemporaryDirectory(prefix="swf-", dir="/tmp", ignore_cleanup_errors=True) as temp:
        environment = {**os.environ, **QUIET, "TMPDIR": temp, "RAY_TMPDIR": temp}
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
            environment.pop(name, None)
        words = [sys.executable, "-m", "tests.cluster.fakes", *map(str, (nodes, cpus, gpus))]
        for left in reversed(range(STARTS)):
            with brought_up(words, environment, Path(temp) / "log") as address:
                assert address or left, (Path(temp) / "log").read_text()
                if address:
                    yield address, environment
                    return


@contextlib.contextmanager
def brought_up(words: list[str], environment: dict[str, str], log: Path) -> Iterator[str]:
    """The address that a process prints, or nothing where it ends without one; then it is ended,
    with all that it started."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            words,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(nodes: int, cpus: int, gpus: int) -> None:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(nodes):
        cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=MEMORY, wait=False)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
