"""What is looked at on every node before the first trial: storage, versions, clocks, GPUs, tokens.

A cluster that cannot run the sweep is refused within seconds, not after an hour, at the first
checkpoint.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.sweep.storage import Storage, StorageError
from sweeper.sweep.where import ClusterError

PATIENCE = 120.0
"""Seconds that a node has to answer. Each starts a process, and may import over a network."""
SKEW = 5.0
"""Seconds that a clock may be wrong before the times in logs and ledger mislead."""
BUSY = 2 * 2**30
"""Bytes in use on a GPU that Ray has given to nobody: more than a desktop takes."""
GIB = 2**30
NAMED = 3

Facts = dict[str, Any]
"""What a node says of itself, as plain data."""


@dataclass(frozen=True)
class Found:
    """What a comparison of nodes came to: what forbids the sweep, and what is only warned of."""

    refused: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def preflight(place: str, name: str, cache: str, say: Callable[[str], None]) -> None:
    """Look at every node of the Ray that this process has joined, and tell of it in a line.

    ``place`` is where all nodes are to read and write, a path or a URI; ``name`` the sweep's.
    The driver's marker stays there, for nodes that join later. Raises ClusterError when the sweep
    cannot run here.
    """
    start = time.monotonic()
    nodes = alive()
    mine = look(cache)
    leave_marker(place, name, mine)
    if len(nodes) > 1:
        theirs = asked(nodes, place, name, cache)
    else:
        theirs = [{**mine, "gpus": list(gpus()), **known(node)} for node in nodes.values()]
    found = compare(mine, theirs, place)
    for line in found.warned:
        say(f"warning: {line}")
    if found.refused:
        raise ClusterError("\n".join(found.refused))
    if len(nodes) > 1:
        seconds = time.monotonic() - start
        rest = "the rest is well" if found.warned else "all well"
        shown = "storage, versions, clocks, tokens"
        say(f"preflight: {len(nodes)} nodes, {shown}: {rest} in {seconds:.1f} s")


def alive() -> dict[str, dict[str, Any]]:
    """The nodes of the Ray that was joined, by id."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node for node in nodes if node["Alive"]}


def asked(
    nodes: dict[str, dict[str, Any]], place: str, name: str, cache: str, patience: float = PATIENCE
) -> list[Facts]:
    """What each node says of itself, when a task is run there. One that does not answer says so."""
    import ray
    from ray import cloudpickle
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    import sweeper.sweep.preflight as module

    # By value, since a node may have another sweeper, or none: that is what is asked.
    cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(visit)
        sent = {
            task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
            ).remote(place, name, cache, node): node
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]
    answers, waiting, deadline = list[Facts](), list(sent), time.monotonic() + patience
    begun = time.time()
    while waiting and (left := deadline - time.monotonic()) > 0:
        ready, waiting = ray.wait(waiting, timeout=left)
        for ref in ready:
            node = nodes[sent[ref]]
            try:
                said = ray.get(ref)
            except Exception as error:
                said = {"unanswered": str(error).strip().rpartition("\n")[2]}
            answers.append({**said, **known(node), "skew": skew(said, begun, time.time())})
    silent = {"unanswered": f"no answer within {patience:g} s"}
    answers += [{**silent, **known(nodes[sent[ref]])} for ref in waiting]
    Storage(place).remove(answer_name(name, each) for each in nodes)
    return answers


def known(node: dict[str, Any]) -> Facts:
    """What Ray says of a node: its name, and whether all its GPUs are to be had."""
    from ray._private.state import available_resources_per_node

    total = node["Resources"].get("GPU", 0.0)
    per_node = available_resources_per_node()  # type: ignore[no-untyped-call]
    free = per_node.get(node["NodeID"], {}).get("GPU", 0.0)
    return {"node": node["NodeManagerHostname"], "gpus_free": total > 0 and free >= total}


def skew(said: Facts, begun: float, received: float) -> float:
    """By how many seconds at least a node's clock is wrong, ours being right."""
    clock: float = said.get("clock", received)
    return max(begun - clock, clock - received, 0.0)


def visit(place: str, name: str, cache: str, node: str) -> Facts:
    """What this node, on which the task runs, is like; it answers the driver's marker with a file
    of its own."""
    facts = {**look(cache), "gpus": list(gpus())}
    try:
        from sweeper.sweep.storage import Storage, StorageError
    except ImportError:
        return facts  # its versions say what is wrong
    try:
        storage = Storage(place)
        marker = json.loads(storage.read(marker_name(name)))
        facts["marker"] = marker["secret"]
        storage.write(answer_name(name, node), marker["secret"].encode())
        facts["storage"] = None
    except StorageError as error:
        facts["storage"] = str(error)
    return facts


def look(cache: str) -> Facts:
    """What this process and its machine are like."""
    import os
    import platform
    import socket

    try:
        Path(cache).mkdir(parents=True, exist_ok=True)
        unwritable = None if os.access(cache, os.W_OK) else "Permission denied"
    except OSError as error:
        unwritable = error.strerror or str(error)
    return {
        "node": socket.gethostname(),
        "versions": {
            "python": ".".join(platform.python_version_tuple()[:2]),
            **{name: version(name) for name in ("sweeper", "ray", "torch", "optuna")},
        },
        "code": code(),
        "clock": time.time(),
        "auth": mode(),
        "cache": unwritable,
    }


def version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package).partition("+")[0]  # 2.8.0+cpu and 2.8.0+cu128 go together
    except PackageNotFoundError:
        return "none"


def code() -> str:
    """A digest of sweeper's source as it is installed here, since copies of one version differ."""
    import hashlib
    from importlib.util import find_spec

    spec = find_spec("sweeper")
    if spec is None or spec.origin is None:
        return "none"
    digest, root = hashlib.sha256(), Path(spec.origin).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def mode() -> str:
    """Whether this process shows a token to Ray: ``token`` or ``disabled``."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return "token" if is_token_auth_enabled() else "disabled"


def gpus() -> Iterator[dict[str, Any]]:
    """The GPUs of this machine as its driver knows them: a CUDA context of our own would cost each
    of them half a gigabyte."""
    import subprocess

    query = "--query-gpu=name,memory.total,memory.used"
    try:
        shown = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for line in shown.splitlines():
        name, total, used = (word.strip() for word in line.rsplit(",", 2))
        if total.isdigit() and used.isdigit():  # a card cut into instances says [N/A]
            yield {"name": name, "total": int(total) * 2**20, "used": int(used) * 2**20}


def marker_name(name: str) -> str:
    return f".preflight-{name}.json"


def answer_name(name: str, node: str) -> str:
    return f".preflight-{name}-{node}.json"


def leave_marker(place: str, name: str, mine: Facts) -> None:
    """Write what nodes compare themselves with. Raises ClusterError when this driver cannot."""
    mine["marker"] = secrets.token_hex(8)
    mine["storage"] = None
    marker = {"secret": mine["marker"], "versions": mine["versions"]}
    try:
        Storage(place).write(marker_name(name), json.dumps(marker).encode())
    except StorageError as error:
        law = "results are kept where this driver can write"
        raise ClusterError(f"{law}, but {place} is not such a place: {error}") from None


def compare(mine: Facts, theirs: Sequence[Facts], place: str) -> Found:
    """What the nodes' facts, beside the driver's, allow."""
    there = [facts for facts in theirs if "unanswered" not in facts]
    refused = [
        *unanswered(theirs),
        *unshared(mine, there, place),
        *unequal(mine, there),
        *unguarded(mine, there),
        *uncached(there),
    ]
    return Found(tuple(refused), (*uneven(mine, there), *skewed(there), *busy(there)))


def unanswered(theirs: Sequence[Facts]) -> Iterator[str]:
    for facts in theirs:
        if "unanswered" in facts:
            law = "every node runs a first task"
            yield f"{law}, but {facts['node']} does not: {facts['unanswered']}"


def unshared(mine: Facts, there: Sequence[Facts], place: str) -> Iterator[str]:
    looked = [facts for facts in there if "storage" in facts]
    apart = [facts for facts in looked if facts.get("marker") != mine["marker"]]
    deaf = [facts for facts in looked if facts not in apart and facts["storage"]]
    ways = (
        "  either keep the results on a file system that all nodes have at one path: "
        "--out /mnt/shared/results\n"
        "  or name a place that all nodes reach: --storage s3://bucket/sweeps"
    )
    if apart:
        law = "every node reads and writes the sweep's storage"
        seen = f"{place} is not shared: what this driver wrote there is not seen on {names(apart)}"
        yield f"{law}, but {seen}\n{ways}"
    if deaf:
        law = "every node reads and writes the sweep's storage"
        reason = deaf[0]["storage"]
        yield f"{law}, but {place} cannot be written on {names(deaf)}: {reason}\n{ways}"


def unequal(mine: Facts, there: Sequence[Facts]) -> Iterator[str]:
    for what, here in mine["versions"].items():
        others: dict[str, list[Facts]] = {}
        for facts in there:
            if facts["versions"][what] != here:
                others.setdefault(facts["versions"][what], []).append(facts)
        if others:
            shown = ", ".join(f"{other} on {names(on)}" for other, on in others.items())
            yield f"all nodes have one {what}, but here it is {here}, and {shown}"


def unguarded(mine: Facts, there: Sequence[Facts]) -> Iterator[str]:
    other = [facts for facts in there if facts["auth"] != mine["auth"]]
    if other:
        law = "all nodes and the driver have one RAY_AUTH_MODE"
        yield f"{law}, but here it is {mine['auth']}, and {other[0]['auth']} on {names(other)}"


def uncached(there: Sequence[Facts]) -> Iterator[str]:
    for facts in there:
        if facts["cache"]:
            law = "every node keeps packed data in the cache of the results"
            yield f"{law}, but {facts['node']} cannot: {facts['cache']}"


def uneven(mine: Facts, there: Sequence[Facts]) -> Iterator[str]:
    here = mine["versions"]["sweeper"]
    same = [facts for facts in there if facts["versions"]["sweeper"] == here]
    if other := [facts for facts in same if facts["code"] != mine["code"]]:
        yield f"the files of sweeper {here} on {names(other)} are not those here: copy them again"


def skewed(there: Sequence[Facts]) -> Iterator[str]:
    for facts in there:
        if (seconds := facts.get("skew", 0.0)) > SKEW:
            yield f"the clock of {facts['node']} is {seconds:.0f} s off: times in its logs mislead"


def busy(there: Sequence[Facts]) -> Iterator[str]:
    for facts in there:
        for i, gpu in enumerate(facts["gpus"]):
            if facts.get("gpus_free") and gpu["used"] > BUSY:
                used = f"{gpu['used'] / GIB:.0f} of {gpu['total'] / GIB:.0f} GiB"
                what = f"GPU {i} of {facts['node']} ({gpu['name']})"
                yield f"{what} is busy outside Ray: {used} are in use; trials there may lack memory"


def names(nodes: Iterable[Facts]) -> str:
    """Some nodes by name, and how many more there are."""
    all_of_them = sorted({facts["node"] for facts in nodes})
    more = f" and {len(all_of_them) - NAMED} more" if len(all_of_them) > NAMED else ""
    return ", ".join(all_of_them[:NAMED]) + more


def unfit(place: str, name: str, cache: str) -> str | None:
    """Why this node cannot run trials of a sweep, by the marker that the sweep's driver left: for
    the first job of a worker, whose node may have joined since."""
    here = look(cache)
    try:
        marker = json.loads(Storage(place).read(marker_name(name)))
    except StorageError as error:
        law = "every node reads and writes the sweep's storage"
        return f"{law}, but {here['node']} does not see {place}: {error}"
    wrong = [*unequal({"versions": marker["versions"]}, [here]), *uncached([here])]
    return "; ".join(wrong) or None
