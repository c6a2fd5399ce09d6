"""Whether a cluster file is right, before ``ray up`` is given it: Ray's own checks, and what they
let through."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from sweeper.config import Problem, Where
from sweeper.registry import nearest
from sweeper.space.source import Fault, InputError, Source, read

COMMON = frozenset({"type", "module", "disable_node_updaters"})
PROVIDERS: Mapping[str, frozenset[str]] = {
    "local": COMMON
    | {"head_ip", "worker_ips", "external_head_ip", "use_internal_ips", "coordinator_address"},
    "aws": COMMON
    | {
        "region",
        "availability_zone",
        "cache_stopped_nodes",
        "use_internal_ips",
        "security_group",
        "key_pair",
        "aws_credentials",
        "cloudwatch",
    },
}
"""What Ray reads of ``provider``. It takes any other key too, and does nothing with it."""

LOCAL_TOP = frozenset({"min_workers"})
"""Read from the top of a file for machines of one's own, though Ray's schema does not say so."""

NAMES = (
    "BlockDeviceMappings CapacityReservationSpecification CpuOptions CreditSpecification "
    "DisableApiTermination EbsOptimized EnclaveOptions HibernationOptions IamInstanceProfile "
    "ImageId InstanceInitiatedShutdownBehavior InstanceMarketOptions InstanceType Ipv6AddressCount "
    "Ipv6Addresses KernelId KeyName LaunchTemplate LicenseSpecifications MaintenanceOptions "
    "MetadataOptions Monitoring NetworkInterfaces Placement PrivateDnsNameOptions PrivateIpAddress "
    "RamdiskId SecurityGroupIds SecurityGroups SubnetId TagSpecifications UserData"
)
NODE = frozenset(NAMES.split())
"""What EC2 takes to start a machine, for where botocore, which knows it in full, is missing."""

OURS = frozenset({"SubnetIds", "MinCount", "MaxCount"})
"""What Ray takes of a node beside what EC2 does."""

MODE = re.compile(r"\bRAY_AUTH_MODE=[\"']?(\w+)")
STORAGE = re.compile(r"\bSWEEPER_STORAGE=[\"']?([^\s\"']+)")
TOKEN = ".ray/auth_token"  # a path, no secret
V1 = "RAY_enable_autoscaler_v2=0"


def check(path: Path) -> dict[str, Any]:
    """Read a cluster file, and refuse one that Ray would refuse, or would take and then fail on.

    Nothing outside this machine is asked. Relative paths in ``file_mounts`` are looked for where
    ``ray up`` looks: in the working directory. Returns the file as plain data. Raises InputError,
    which names everything that is wrong, each with file, line and column: whoever finds a cluster
    file beside a sweep may show it as it is.
    """
    source = read(path, "a cluster file")
    problems = [*own_problems(source.tree)]
    if not problems:
        problems = [*ray_problems(source.tree)]
    if problems:
        raise InputError(_faults(source, problems))
    return source.tree


def said(tree: Mapping[str, Any]) -> str:
    """One line about a cluster file that is right."""
    provider = tree["provider"]
    if provider["type"] == "local":
        return f"a head at {provider['head_ip']} and {len(provider['worker_ips'])} workers"
    types = ", ".join(tree["available_node_types"])
    return f"on {provider['type']}, at most {tree.get('max_workers', 2)} workers, of {types}"


def _faults(source: Source, problems: Iterable[Problem]) -> list[Fault]:
    """Each problem where it stands, from the top of the file to its end."""
    faults = [source.fault(problem) for problem in problems]
    return sorted(faults, key=lambda fault: (fault.mark.line, fault.mark.column))


def ray_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What ``ray up`` would say before it asks a cloud for anything."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        # It says things about Docker, which is not used.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            # The defaults come first, as in `ray up`: without them no file is valid.
            validate_config(prepare_config(copy.deepcopy(dict(tree))))
    except jsonschema.ValidationError as error:
        yield Problem(tuple(error.absolute_path), f"ray up refuses this: {error.message}")
    except Exception as error:  # it has many ways to say no, its command line's own among them
        reason = " ".join(str(error).split()) or type(error).__name__
        yield Problem((), f"ray up refuses this file: {reason}")


def own_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What Ray's schema lets through, and what it says without a place."""
    kind = _mapping(tree.get("provider")).get("type")
    known = top_keys() | (LOCAL_TOP if kind == "local" else frozenset())
    yield from unknown((), tree, known, "a cluster file")
    if "cluster_name" not in tree:
        yield Problem((), "a cluster has a cluster_name")
    if not isinstance(kind, str):
        yield Problem(("provider",), "a provider has a type, such as aws or local")
        return
    provider = _mapping(tree["provider"])
    if kind in PROVIDERS:
        yield from unknown(("provider",), provider, PROVIDERS[kind], f"a provider of type {kind}")
    if kind == "local":
        yield from local_problems(tree)
    else:
        yield from type_problems(tree, aws=kind == "aws")
    yield from mount_problems(tree)
    yield from node_problems(tree)


def unknown(
    where: Where, found: Mapping[str, Any], known: Iterable[str], what: str
) -> Iterator[Problem]:
    """The keys that nobody reads."""
    known = sorted(known)
    for key in found:
        if key not in known:
            yield Problem((*where, key), f"{what} has no such key", nearest(key, known))


def lacks(found: Mapping[str, Any], key: str, known: Iterable[str]) -> bool:
    """Whether a key is missing, and not just misspelt."""
    known = sorted(known)
    odd = [name for name in found if name not in known]
    return key not in found and key not in {nearest(name, known) for name in odd}


def local_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Machines of one's own: which they are, and that all of them join."""
    provider = _mapping(tree["provider"])
    head, workers = provider.get("head_ip"), provider.get("worker_ips")
    for key in ("head_ip", "worker_ips"):
        if lacks(provider, key, PROVIDERS["local"]):
            yield Problem(("provider",), f"machines of one's own have {key}")
    if "worker_ips" in provider and not isinstance(workers, list):
        yield Problem(("provider", "worker_ips"), "worker_ips is a list, which may be []")
    workers = workers if isinstance(workers, list) else []
    for i, worker in enumerate(workers):
        if worker == head or worker in workers[:i]:
            law = f"a machine is named once, but {worker} is named again"
            yield Problem(("provider", "worker_ips", i), law)
    if "ssh_user" not in _mapping(tree.get("auth")):
        yield Problem(("auth",), "machines of one's own have an ssh_user, who may log in to all")
    start = "\n".join(_commands(tree, "head_start_ray_commands"))
    if workers and V1 not in start:
        law = f"the head is started with {V1}: Ray's second autoscaler leaves one worker out"
        yield Problem(("head_start_ray_commands",), law)


def type_problems(tree: Mapping[str, Any], *, aws: bool) -> Iterator[Problem]:
    """Machines of a cloud: how many of each kind, and how each is asked for."""
    types = _mapping(tree.get("available_node_types"))
    if not types:
        yield Problem((), "a cloud's machines are described in available_node_types")
    head = tree.get("head_node_type")
    label = f"--labels=cluster={tree.get('cluster_name')}"
    if label not in "\n".join(_commands(tree, "head_start_ray_commands")):
        law = f"the head is started with {label}, by which sweeper knows whose dashboard it sees"
        yield Problem(("head_start_ray_commands",), law)
    if types and head not in types:
        law = f"head_node_type is one of available_node_types, but got {head}"
        yield Problem(("head_node_type",), law, nearest(str(head), types))
    most = tree.get("max_workers", 2)
    for name, kind in types.items():
        where = ("available_node_types", name)
        for key in ("min_workers", "max_workers"):
            count = _mapping(kind).get(key)
            if isinstance(count, int) and isinstance(most, int) and count > most:
                law = f"no type has more than the cluster's max_workers, {most}, but got {count}"
                yield Problem((*where, key), law)
        node = _mapping(_mapping(kind).get("node_config"))
        if aws:
            yield from node_config((*where, "node_config"), node)


def node_config(where: Where, node: Mapping[str, Any]) -> Iterator[Problem]:
    """What EC2 is asked for a machine."""
    shape = run_instances()
    known = OURS | (frozenset(shape.members) if shape is not None else NODE)
    yield from unknown(where, node, known, "a machine of EC2")
    if lacks(node, "InstanceType", known):
        yield Problem(where, "a machine of EC2 has an InstanceType")
    if shape is None:
        return
    for key in node:
        if key in shape.members:
            yield from inner((*where, key), node[key], shape.members[key])


def inner(where: Where, value: Any, shape: Any) -> Iterator[Problem]:
    """The keys inside of what EC2 is asked for, by the model of botocore."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        yield from unknown(where, value, shape.members, str(where[-1]))
        for key in value:
            if key in shape.members:
                yield from inner((*where, key), value[key], shape.members[key])
    elif shape.type_name == "list" and isinstance(value, Sequence) and not isinstance(value, str):
        for i, item in enumerate(value):
            yield from inner((*where, i), item, shape.member)


def mount_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What is to be copied to the nodes is there, else ``ray up`` fails without saying why."""
    for remote, here in _mapping(tree.get("file_mounts")).items():
        if not Path(str(here)).expanduser().exists():
            law = f"what the nodes are given is here, but there is no {here} in {Path.cwd()}"
            yield Problem(("file_mounts", remote), law)


def node_problems(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """What every node has to be told: how it shows who it is, and where trials are kept."""
    shared = _commands(tree, "initialization_commands") + _commands(tree, "setup_commands")
    sides = {
        side: "\n".join(
            shared + _commands(tree, f"{side}_setup_commands", f"{side}_start_ray_commands")
        )
        for side in ("head", "worker")
    }
    modes = {side: MODE.findall(text)[-1:] for side, text in sides.items()}
    if modes["head"] != modes["worker"] or not modes["head"]:
        said = ", ".join(
            f"the {side}: {' '.join(found) or 'none'}" for side, found in modes.items()
        )
        law = "every node is told one RAY_AUTH_MODE, else no worker can join"
        yield Problem(("setup_commands",), f"{law}, but got {said}")
    elif modes["head"] == ["token"]:
        yield from token_problems(tree, sides["head"])
    if _workers(tree):
        yield from storage_problems(sides)


def token_problems(tree: Mapping[str, Any], head: str) -> Iterator[Problem]:
    """A token that every node has, and nobody else can read."""
    synced = tree.get("cluster_synced_files")
    given = [*_mapping(tree.get("file_mounts")), *(synced if isinstance(synced, list) else [])]
    if not any(str(path).endswith(TOKEN) for path in given):
        law = f"with RAY_AUTH_MODE=token, ~/{TOKEN} is in cluster_synced_files or file_mounts"
        yield Problem(("cluster_synced_files",), f"{law}, else no worker can join")
    if not re.search(rf"chmod (0?600|go=) \S*{re.escape(TOKEN)}", head):
        law = f"~/{TOKEN} is made readable for its owner alone: chmod 600 ~/{TOKEN}"
        yield Problem(("head_setup_commands",), law)


def storage_problems(sides: Mapping[str, str]) -> Iterator[Problem]:
    """One place for trials, which all nodes see."""
    found = {side: STORAGE.findall(text)[-1:] for side, text in sides.items()}
    if found["head"] != found["worker"] or not found["head"]:
        said = ", ".join(f"the {side}: {' '.join(s) or 'none'}" for side, s in found.items())
        law = "several nodes are told one SWEEPER_STORAGE, which all of them see"
        yield Problem(("setup_commands",), f"{law}, but got {said}")
        return
    where = found["head"][0]
    if "://" not in where and not PurePosixPath(where).is_absolute():
        law = (
            f"SWEEPER_STORAGE is an absolute path or a URI such as s3://bucket/folder, not {where}"
        )
        yield Problem(("setup_commands",), law)


def _workers(tree: Mapping[str, Any]) -> bool:
    """Whether there can be more nodes than the head."""
    provider = _mapping(tree.get("provider"))
    if provider.get("type") == "local":
        return bool(provider.get("worker_ips"))
    return bool(tree.get("max_workers", 2))


def _commands(tree: Mapping[str, Any], *keys: str) -> list[str]:
    lists = [tree.get(key) for key in keys]
    return [str(line) for commands in lists if isinstance(commands, list) for line in commands]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@cache
def top_keys() -> frozenset[str]:
    """What Ray's schema has at the top of a cluster file."""
    import ray.autoscaler

    schema = Path(str(ray.autoscaler.__file__)).with_name("ray-schema.json")
    return frozenset(json.loads(schema.read_text("utf-8"))["properties"])


@cache
def run_instances() -> Any:
    """What EC2 takes to start machines, by the model of botocore; None without botocore."""
    try:
        from botocore.session import Session
    except ImportError:
        return None
    model = Session().get_service_model("ec2")
    return model.operation_model("RunInstances").input_shape
