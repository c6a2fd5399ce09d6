"""Cluster files: the shipped ones are right, and what is wrong with a broken one is told, with its
place, before anything is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.space.source import InputError
from sweeper.sweep import clusterfile
from sweeper.sweep.clusterfile import check

ROOT = Path(__file__).parents[2]
AWS = ROOT / "cluster.yaml"
OURS = ROOT / "cluster" / "on-prem.yaml"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("file", [AWS, OURS], ids=lambda file: file.name)
def test_shipped_files_are_right(file: Path) -> None:
    tree = check(file)
    assert tree["cluster_name"] == "sweeper"


BROKEN = {
    "a key that nobody knows": (
        AWS,
        ("\nmax_workers: 4  ", "\nmax_worker: 4  "),
        "max_worker: a cluster file has no such key",
        "did you mean max_workers?",
    ),
    "a provider's key": (
        AWS,
        ("  region: us", "  regionn: us"),
        "provider.regionn: a provider of type aws has no such key",
        "did you mean region?",
    ),
    "a machine's key": (
        AWS,
        ("      InstanceType: g5", "      InstanceTyp: g5"),
        "available_node_types.gpu.node_config.InstanceTyp: a machine of EC2 has no such key",
        "did you mean InstanceType?",
    ),
    "more of one type than of all": (
        AWS,
        ("    max_workers: 4 ", "    max_workers: 40 "),
        "available_node_types.gpu.max_workers: no type has more than the cluster's max_workers, 4",
        "but got 40",
    ),
    "a head that is no type": (
        AWS,
        ("head_node_type: head", "head_node_type: haed"),
        "head_node_type: head_node_type is one of available_node_types, but got haed",
        "did you mean head?",
    ),
    "a count in words": (
        AWS,
        ("{CPU: 8, GPU: 1}", "{CPU: 8, GPU: one}"),
        "available_node_types.gpu.resources.GPU: ray up refuses this: 'one' is not of type",
        "",
    ),
    "no auth mode": (
        AWS,
        ("export RAY_AUTH_MODE=token ", "export "),
        "every node is told one RAY_AUTH_MODE, else no worker can join",
        "the head: none, the worker: none",
    ),
    "another auth mode on the workers": (
        OURS,
        ("65536; ray start --address", "65536; RAY_AUTH_MODE=disabled ray start --address"),
        "every node is told one RAY_AUTH_MODE, else no worker can join",
        "the head: token, the worker: disabled",
    ),
    "a token that stays on the head": (
        OURS,
        ("cluster_synced_files: [~/.ray/auth_token]\n", ""),
        "cluster_synced_files: with RAY_AUTH_MODE=token, ~/.ray/auth_token is in",
        "",
    ),
    "a token that everybody may read": (
        OURS,
        (" && chmod 600 ~/.ray/auth_token", ""),
        "head_setup_commands: ~/.ray/auth_token is made readable for its owner alone",
        "",
    ),
    "nowhere to keep trials": (
        OURS,
        ("SWEEPER_STORAGE=/mnt", "SWEEPER_STRAGE=/mnt"),
        "setup_commands: several nodes are told one SWEEPER_STORAGE, which all of them see",
        "",
    ),
    "a relative place for trials": (
        OURS,
        ("SWEEPER_STORAGE=/mnt/shared/sweeper", "SWEEPER_STORAGE=results"),
        "setup_commands: SWEEPER_STORAGE is an absolute path or a URI such as s3://bucket/folder",
        "not results",
    ),
    "the autoscaler that forgets a worker": (
        OURS,
        ("RAY_enable_autoscaler_v2=0 ", ""),
        "head_start_ray_commands: the head is started with RAY_enable_autoscaler_v2=0",
        "",
    ),
    "a dashboard that could be anybody's": (
        AWS,
        ("\ncluster_name: sweeper ", "\ncluster_name: another "),
        "head_start_ray_commands: the head is started with --labels=cluster=another",
        "",
    ),
    "a machine named twice": (
        OURS,
        ("[192.168.1.11, 192.168.1.12]", "[192.168.1.11, 192.168.1.10]"),
        "provider.worker_ips.1: a machine is named once, but 192.168.1.10 is named again",
        "",
    ),
    "something to copy that is not there": (
        OURS,
        (": search_spaces\n", ": search_space\n"),
        "file_mounts.~/sweeper/search_spaces: what the nodes are given is here, but there is no",
        "",
    ),
    "no YAML at all": (OURS, ("type: local", "type: [local"), "this is not valid YAML", ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_where_it_is_broken(tmp_path: Path, case: str) -> None:
    file, (before, after), law, more = BROKEN[case]
    text = file.read_text()
    assert text.count(before) == 1
    broken = tmp_path / "cluster.yaml"
    broken.write_text(text.replace(before, after))
    with pytest.raises(InputError) as refused:
        check(broken)
    said = str(refused.value)
    assert law in said
    assert more in said
    place = said.partition(": ")[0].removeprefix(f"{broken}:")
    line, column = map(int, place.split(":"))
    written = broken.read_text().splitlines()
    offender = law.partition(":")[0].rpartition(".")[2]
    if offender in broken.read_text() and not offender.isdigit():
        assert written[line - 1][column - 1 :].startswith(offender)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "cluster.yaml"
    text = AWS.read_text().replace("  region: us", "  regionn: us")
    broken.write_text(text.replace("      InstanceType: g5", "      InstanceTyp: g5"))
    with pytest.raises(InputError) as refused:
        check(broken)
    assert len(refused.value.faults) == 2


def test_rays_own_check_alone_would_let_these_through(tmp_path: Path) -> None:
    """Else there would be no need for ours: the day this fails, part of it can go."""
    from sweeper.space.source import read

    for case in ("a provider's key", "a machine's key", "more of one type than of all"):
        file, (before, after), *_ = BROKEN[case]
        broken = tmp_path / "cluster.yaml"
        broken.write_text(file.read_text().replace(before, after))
        assert list(clusterfile.ray_problems(read(broken).tree)) == []


def test_what_is_inside_of_a_machine_is_checked_by_the_model_of_botocore() -> None:
    pytest.importorskip("botocore")
    node = {"InstanceType": "g5.xlarge", "InstanceMarketOptions": {"MarketTyp": "spot"}}
    (problem,) = clusterfile.node_config((), node)
    assert problem.path == ("InstanceMarketOptions", "MarketTyp")
    assert problem.hint == "MarketType"


def test_a_command_tells_of_it(tmp_path: Path) -> None:
    def checked(file: Path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "sweeper.cli", "cluster", "check", str(file)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)

    fine = checked(OURS)
    assert (fine.returncode, fine.stderr) == (0, "")
    assert fine.stdout == f"{OURS}: a head at 192.168.1.10 and 2 workers\n"
    broken = tmp_path / "cluster.yaml"
    broken.write_text(OURS.read_text().replace("head_ip", "haed_ip"))
    refused = checked(broken)
    assert refused.returncode == 2
    assert f"{broken}:12:3: provider.haed_ip: a provider of type local has no" in refused.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "cluster").glob("*.sh")), ids=lambda p: p.name)
def test_scripts_are_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
