"""A sweep on a cluster that scales: run in a jail, where ``ray stop`` ends nobody else's Ray.

Ray's wheel lacks a file that its own fake provider reads, so it is laid over it here, in the mounts
of the jail. The numbers of nodes, as they came, are written to ``/tmp/history.json``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import ray
import yaml
from ray.autoscaler._private import fake_multi_node
from ray.cluster_utils import AutoscalingCluster

from tests.cluster.fakes import QUIET, STARTS
from tests.cluster.meeting import command

TMP = Path("/tmp")
MEMORY = 80 * 2**20
BASE = {
    "cluster_name": "fake_multinode",
    "provider": {"type": "fake_multinode"},
    "head_node_type": "ray.head.default",
    "available_node_types": {},
    "auth": {},
    "docker": {},
    "file_mounts": {},
    **{
        name: []
        for name in (
            "initialization_commands",
            "setup_commands",
            "head_setup_commands",
            "worker_setup_commands",
            "head_start_ray_commands",
            "worker_start_ray_commands",
            "cluster_synced_files",
            "rsync_exclude",
            "rsync_filter",
        )
    },
    "file_mounts_sync_continuously": False,
    "max_workers": 3,
    "upscaling_speed": 10.0,
    "idle_timeout_minutes": 0.2,
}


def complete() -> None:
    """Give the fake provider the file that it reads."""
    there, copy = Path(fake_multi_node.__file__).parent, TMP / "fake_multi_node"
    shutil.copytree(there, copy)
    (copy / "example.yaml").write_text(yaml.safe_dump(BASE))
    subprocess.run(["mount", "--bind", copy, there], check=True)


def started() -> None:
    """Bring the head up, and join it."""
    worker = {"CPU": 4, "GPU": 1, "object_store_memory": MEMORY}
    for left in reversed(range(STARTS)):
        cluster = AutoscalingCluster(
            head_resources={"CPU": 1, "object_store_memory": MEMORY},
            worker_node_types={
                "gpu": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 3}
            },
            autoscaler_v2=True,
        )
        try:
            cluster.start()
            ray.init("auto", log_to_driver=False)
        except (subprocess.CalledProcessError, OSError, RuntimeError):
            if not left:
                raise
            ray.shutdown()
        else:
            return


def nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def note(history: list[int]) -> None:
    if not history or history[-1] != nodes():
        history.append(nodes())


def main() -> int:
    complete()
    os.environ.update(QUIET)
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    started()
    history: list[int] = []
    note(history)
    address = ray.get_runtime_context().gcs_address
    words = command(TMP / "out", address, n=12, name="scaled")
    with (TMP / "log").open("w") as log:
        running = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        while running.poll() is None:
            note(history)
            time.sleep(0.5)
    idle = time.monotonic()
    while nodes() > 1 and time.monotonic() < idle + 120:
        note(history)
        time.sleep(0.5)
    note(history)
    (TMP / "history.json").write_text(json.dumps(history))
    print(history, (TMP / "log").read_text())
    return running.returncode


if __name__ == "__main__":
    sys.exit(main())
