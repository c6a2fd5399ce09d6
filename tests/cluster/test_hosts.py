"""The hosts that the cluster tests stand on: apart from each other and from this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.cluster.hosts import NET, ROOT, VENV, Network, missing, office

REASON = missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no hosts here: {REASON}")


@pytest.fixture(scope="module")
def around() -> Iterator[Network]:
    with office(workers=("w1",)) as network:
        yield network


def test_hosts_reach_each_other_by_ssh(around: Network) -> None:
    laptop, worker = around.hosts["laptop"], around.hosts["w1"]
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    said = laptop.run(f"ssh {options} -i ~/.ssh/id_ed25519 {worker.address} hostname")
    assert said == "w1\n"


def test_a_host_sees_nothing_of_this_machine_but_the_project(around: Network) -> None:
    laptop = around.hosts["laptop"]
    assert str(os.getpid()) not in laptop.run("ps -e -o pid=").split()
    # The project may lie below /tmp itself.
    seen = {path.parts[2] for path in (ROOT, VENV) if path.is_relative_to("/tmp")}
    assert laptop.run("ls /tmp /run/sshd").split() == ["/run/sshd:", "/tmp:", *sorted(seen)]
    assert "sweeper" in laptop.run("sweeper --help")
    laptop.run("touch /tmp/mine ~/mine")
    assert around.hosts["w1"].run("ls /tmp ~").split() == ["/root:", "/tmp:", *sorted(seen)]


def test_a_cut_host_is_silent_and_a_dead_one_comes_back_with_its_disk(around: Network) -> None:
    laptop, worker = around.hosts["laptop"], around.hosts["w1"]
    knock = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{worker.address}/22' && echo open || echo shut"
    worker.cut()
    assert laptop.run(knock).endswith("shut\n")
    worker.heal()
    assert laptop.run(knock) == "open\n"
    worker.run("echo kept > ~/kept; echo lost > /dev/shm/lost")
    worker.kill()
    assert laptop.run(knock).endswith("shut\n")
    worker.boot()
    assert worker.run("cat ~/kept; ls /dev/shm") == "kept\n"
    assert laptop.run(knock) == "open\n"


def test_whoever_calls_somewhere_else_is_noted(around: Network) -> None:
    laptop = around.hosts["laptop"]
    assert around.sniffer.foreign == set()
    code = "import socket\ntry: socket.{}\nexcept OSError: pass"
    for call in (
        "create_connection(('192.0.2.7', 80), timeout=1)",
        "getaddrinfo('example.org', 80)",
    ):
        laptop.run(f'python -c "{code.format(call)}"')
    deadline = time.monotonic() + 30  # it listens in a thread of its own
    while (f"{NET}.5", "example.org") not in around.sniffer.names:
        assert time.monotonic() < deadline, around.sniffer.names
        time.sleep(0.05)
    assert around.sniffer.foreign == {(f"{NET}.5", "192.0.2.7")}
