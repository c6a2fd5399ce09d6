"""A Ray of two nodes on this machine, for a test that kills one of them.

Prints its address and the process id of the second node's raylet, then waits for the end of its
standard input.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    store = 80 * 2**20
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": store},
    )
    node = cluster.add_node(num_cpus=1, object_store_memory=store)
    cluster.wait_for_nodes()
    raylet = node.all_processes["raylet"][0].process.pid
    print(cluster.address, raylet, flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
