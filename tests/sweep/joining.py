"""A Ray of one node on this machine, which a second one joins that has another optuna.

Prints its address; lets the second join, and prints its id, when it is told to by a line; then
waits for the end of its standard input. The one argument is a folder for what the second has.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ray.cluster_utils import Cluster

STORE = 80 * 2**20


def main(folder: Path) -> None:
    about = folder / "optuna-99.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: optuna\nVersion: 99\n")
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    print(cluster.address, flush=True)
    sys.stdin.readline()
    node = cluster.add_node(
        num_cpus=1, object_store_memory=STORE, env_vars={"PYTHONPATH": str(folder)}
    )
    print(node.node_id, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
