"""``cluster.yaml`` on an EC2 that moto plays: run by ``ec2.sh``, outside the test suite."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeper.ledger.ledger import Record
from tests.cluster.hosts import ROOT, Host, Network, do, missing
from tests.sweep.commands import records

NET = "172.31.255"
LAPTOP = f"{NET}.5"
PYTHON = "~/sweeper/.venv/bin/python"
PORT = 5577
REGION = "us-east-2"
EDITS = {
    "s3://my-bucket/sweeper": "s3://bucket-of-mine/sweeper",
    "ssh_user: ubuntu": "ssh_user: root",
    # moto gives its machines public addresses, too, and those are somebody's.
    "  cache_stopped_nodes: false": "  use_internal_ips: true\n  cache_stopped_nodes: false",
}
"""All that is changed in cluster.yaml."""

ONCE = """
import boto3, json
iam = boto3.client("iam")
iam.create_role(RoleName="sweeper", AssumeRolePolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}))
iam.create_instance_profile(InstanceProfileName="sweeper")
iam.add_role_to_instance_profile(InstanceProfileName="sweeper", RoleName="sweeper")
boto3.client("s3").create_bucket(Bucket="bucket-of-mine",
    CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
"""
"""What docs/cluster.md has a user do once."""

STORED = """
import boto3
held = boto3.client("s3").list_objects_v2(Bucket="bucket-of-mine")["Contents"]
print(*(file["Key"] for file in held), sep="\\n")
"""
SERVED = """
from mlflow import MlflowClient
client = MlflowClient("http://127.0.0.1:5000")
print(sum(len(client.search_runs([e.experiment_id])) for e in client.search_experiments()))
"""
"""What the bucket holds, and how many runs the MLflow on the head has."""

SWEEP = (
    "sweeper run search_spaces/ttur.yaml --trials 4 --set budget.max=1.8 --set batch.size=4 "
    "--set architecture.dcgan.channels=4 --set prior.gaussian_latent.size=8 "
    "--set evaluation.features=random_conv --set evaluation.samples=16 "
    "--set evaluation.full_samples=16 --set resources.cpu=2 --set resources.gpu=0.5 "
    "--set confirm.top=0"
)
START = time.monotonic()


def say(line: str) -> None:
    print(f"[{time.monotonic() - START:5.0f} s] {line}", flush=True)


class Cloud:
    """EC2: what moto says runs is a host; what it says has ended is switched off."""

    def __init__(self, network: Network, laptop: Host, log: Path) -> None:
        self.network, self.laptop, self.log = network, laptop, log
        self.machines: dict[str, dict[str, Any]] = {}
        self.launched: list[str] = []

    def look(self) -> None:
        """Do what moto's newest word asks for."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        said = [line for line in lines if line.startswith("{") and line.endswith("}")]
        if not said:
            return
        self.machines = json.loads(said[-1])
        for name, machine in self.machines.items():
            if machine["up"] and name not in self.launched:
                self._boot(name, machine)
            elif not machine["up"] and name in self.network.hosts:
                say(f"EC2: {name} at {machine['address']} is gone")
                self.network.remove(name)

    def _boot(self, name: str, machine: dict[str, Any]) -> None:
        self.launched.append(name)
        host = self.network.add(name, machine["address"])
        home = host.home / ".ssh/authorized_keys"
        for key in (self.laptop.home / ".ssh").glob("*.pem"):  # the pair that Ray has made
            with home.open("a") as file:
                file.write(do("ssh-keygen", "-y", "-f", key))
        market = "spot" if machine["spot"] else "on demand"
        say(f"EC2: {name}, {machine['type']}, {market}, at {machine['address']}")

    def workers(self) -> list[str]:
        """The spot machines that are there."""
        up = [name for name, machine in self.machines.items() if machine["up"] and machine["spot"]]
        return [name for name in up if name in self.network.hosts]

    def training(self, known: Iterable[Record]) -> list[str]:
        """The spot machines on which a trial goes on that was measured there."""
        busy = {record.number for record in known if record.measured and not record.ended}
        folders = {n: self.network.hosts[n].home / "results/ttur/trials" for n in self.workers()}
        return [
            name
            for name, folder in folders.items()
            if any(int(path.name) in busy for path in folder.glob("0*"))
        ]

    def until(self, what: str, true: Callable[[], bool], patience: float, log: Path) -> None:
        deadline = time.monotonic() + patience
        while not true():
            self.look()
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: too late\n{log.read_text()}")
            time.sleep(0.5)
        say(what)


@contextmanager
def started(host: Host, command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command on a host, for as long as it is needed."""
    process = host.start(command, log)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def furnish(laptop: Host) -> None:
    """The laptop's desk: the project, with the few edits of cluster.yaml."""
    desk = laptop.home / "sweeper"
    for name in ("sweeper", "search_spaces", "cluster"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, desk / name, symlinks=True, ignore=ignored)
    for path in [
        *ROOT.glob("*.lock"),
        *(ROOT / n for n in ("pyproject.toml", "README.md", "LICENSE")),
    ]:
        shutil.copy(path, desk / path.name)
    text = (ROOT / "cluster.yaml").read_text()
    for before, after in EDITS.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    (desk / "cluster.yaml").write_text(text)
    laptop.run("bash sweeper/cluster/install.sh cluster/aws.lock", timeout=600)
    with (laptop.home / ".bashrc").open("a") as file:
        file.write('export PATH="$HOME/sweeper/.venv/bin:$PATH"\n')
    say("the laptop is installed")


def images(folder: Path) -> Path:
    """An image under the very name that cluster.yaml has, for moto."""
    image = (ROOT / "cluster.yaml").read_text().partition("&image ")[2].split()[0]
    path = folder / "images.json"
    fields = {
        "ami_id": image,
        "name": "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)",
        "description": "",
        "owner_id": "898082745236",
        "public": True,
        "virtualization_type": "hvm",
        "architecture": "x86_64",
        "state": "available",
        "platform": None,
        "image_type": "machine",
        "hypervisor": "xen",
        "root_device_name": "/dev/sda1",
        "root_device_type": "ebs",
        "sriov": "simple",
    }
    path.write_text(json.dumps([fields]))
    return path


def emulate(folder: Path) -> None:
    """All of it. Raises AssertionError when something is not as promised."""
    cache = Path(os.environ["UV_CACHE_DIR"])
    variables = {
        "PATH": f"{sys.base_prefix}/bin:$PATH",
        "AWS_ENDPOINT_URL": f"http://{LAPTOP}:{PORT}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Instead of the package index. Links, since 6 GB a machine would be much to copy.
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "wheels"),
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(cache),
        "UV_LINK_MODE": "symlink",
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
    }
    image = "".join(f'export {name}="{value}"\n' for name, value in variables.items())
    with Network(net=NET, prefix=16, bashrc=image, shown=[cache]) as network:
        laptop = network.add("laptop", LAPTOP)
        furnish(laptop)
        laptop.run("ray disable-usage-stats")
        moto = (
            f"MOTO_IAM_LOAD_MANAGED_POLICIES=true MOTO_AMIS_PATH={images(folder)} "
            f"{folder}/moto/bin/python {folder}/moto/bin/moto_server -H {LAPTOP} -p {PORT}"
        )
        watch = f"{PYTHON} {ROOT}/tests/cluster/instances.py"
        with started(laptop, moto, folder / "moto.log"):
            wait = f"until (exec 3<>/dev/tcp/{LAPTOP}/{PORT}) 2>/dev/null; do sleep 0.2; done"
            laptop.run(wait, timeout=120)
            laptop.run(f"{PYTHON} -c '{ONCE}'", timeout=120)
            with started(laptop, watch, folder / "machines"):
                swept(Cloud(network, laptop, folder / "machines"), folder)
        elsewhere = (network.sniffer.foreign, network.sniffer.names)
        assert elsewhere == (set(), set()), elsewhere
        say("nobody else was called")


def swept(cloud: Cloud, folder: Path) -> None:
    """Up, a sweep that loses a spot machine, down."""
    laptop, network = cloud.laptop, cloud.network
    up = folder / "up"
    with started(laptop, "cd sweeper && ray up -y cluster.yaml", up) as process:
        cloud.until("ray up has ended", lambda: process.poll() is not None, 600, up)
    assert process.returncode == 0, up.read_text()
    assert (len(cloud.launched), cloud.workers()) == (1, [])
    results = network.hosts[cloud.launched[0]].home / "results/ttur"

    run = folder / "run"
    with started(laptop, f"cd sweeper && {SWEEP}", run) as process:

        def reached(true: Callable[[], bool]) -> Callable[[], bool]:
            def look() -> bool:
                assert process.poll() is None, run.read_text()
                return true()

            return look

        waiting = "pending trials have brought two spot machines"
        cloud.until(waiting, reached(lambda: len(cloud.workers()) == 2), 300, run)
        begun = reached(lambda: bool(cloud.training(records(results))))
        cloud.until("a trial there has been measured", begun, 900, run)
        victim, before = cloud.training(records(results))[0], len(cloud.launched)
        say(f"EC2 takes {victim} away")
        kill = f'import boto3; boto3.client("ec2").terminate_instances(InstanceIds=["{victim}"])'
        laptop.run(f"{PYTHON} -c '{kill}'", timeout=120)
        another = reached(lambda: len(cloud.launched) > before)
        cloud.until("another has come in its place", another, 300, run)
        cloud.until("the sweep has ended", lambda: process.poll() is not None, 900, run)
    print(run.read_text())
    assert process.returncode == 0
    causes = [e.data["cause"] for r in records(results) for e in r.events if e.kind == "lost"]
    assert set(causes) == {"node"}, causes
    assert len(records(results)) == 4
    for record in records(results):
        steps = [event.step for event in record.measured]
        assert steps == sorted(set(steps)), steps
    assert (laptop.home / "sweeper/results/ttur/report.html").is_file()
    stored = laptop.run(f"{PYTHON} -c '{STORED}'", timeout=120).split()
    assert any("ledger" in name for name in stored), stored
    assert any("checkpoint" in name for name in stored), stored
    head = network.hosts[cloud.launched[0]]
    served = head.run(f"{PYTHON} -c '{SERVED}'", timeout=300).split()[-1]
    assert served == "5", served  # the sweep and its four trials
    say(f"S3 holds {len(stored)} files, MLflow on the head {served} runs")

    down = folder / "down"
    with started(laptop, "cd sweeper && ray down -y cluster.yaml", down) as process:
        cloud.until("ray down has ended", lambda: process.poll() is not None, 300, down)
    cloud.until(
        "no machine is left", lambda: not any(m["up"] for m in cloud.machines.values()), 60, down
    )


if __name__ == "__main__":
    if reason := missing():
        sys.exit(f"no hosts here: {reason}")
    emulate(Path(sys.argv[1]))
