"""The rule that says where a sweep runs, on states that Ray's launcher leaves and real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweeper.sweep import where
from sweeper.sweep.where import (
    SETTINGS,
    ClusterError,
    Dashboard,
    Here,
    Launched,
    Place,
    RefusedError,
    free_port,
    is_mine,
    rule,
)

ON_PREM = """\
cluster_name: lab
provider: {type: local, head_ip: 127.0.0.1, worker_ips: [127.0.0.2]}
auth: {ssh_user: me}
"""
CLOUD = """\
cluster_name: lab
provider: {type: aws, region: us-west-2}
auth: {ssh_user: me}
head_start_ray_commands: [ray stop, ray start --head --dashboard-port=8266]
"""


@contextlib.contextmanager
def listening(greeting: bytes | None) -> Iterator[str]:
    """HOST:PORT of someone on loopback who greets, or says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    kept.append(caller)
                    if greeting is not None:
                        caller.sendall(greeting)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for caller in kept:
                caller.close()


@pytest.fixture
def ray() -> Iterator[str]:
    with listening(SETTINGS) as address:
        yield address


@pytest.fixture
def here(tmp_path: Path) -> Here:
    for folder in ("ray", "caches", "cwd"):
        (tmp_path / folder).mkdir()
    return Here({}, tmp_path / "ray", tmp_path / "caches", tmp_path / "cwd")


def said(here: Here, **environ: str) -> Here:
    return Here(environ, here.temp, here.caches, here.folder)


def mark(here: Here, address: str) -> None:
    (here.temp / "ray_current_cluster").write_text(address + "\n")


def up(here: Here, text: str = ON_PREM, state: str = "running") -> None:
    """What ``ray up`` leaves: the state of one's own machines, a resolved cloud configuration."""
    (here.folder / "cluster.yaml").write_text(text)
    nodes = {"127.0.0.1": {"state": state, "tags": {}}, "127.0.0.2": {"state": "terminated"}}
    if text == ON_PREM:
        (here.temp / "cluster-lab.state").write_text(json.dumps(nodes))
    else:
        config = {"cluster_name": "lab", "provider": {"type": "aws"}}
        (here.caches / "ray-config-0123").write_text(json.dumps({"config": config}))


def test_the_first_that_applies(here: Here, ray: str) -> None:
    """Each step of the rule, with all later ones applying too."""
    assert rule(None, here) == Place("local", "local", "no other Ray is at hand")
    up(here)
    place = rule(None, here)
    launched = Launched(here.folder / "cluster.yaml", "lab", "127.0.0.1", "127.0.0.1", 8265)
    assert place == Place("submit", "", "cluster.yaml", launched)
    mark(here, ray)
    assert rule(None, here) == Place("join", ray, "this machine's Ray")
    with listening(SETTINGS) as other:
        told = said(here, RAY_ADDRESS=other)
        assert rule(None, told) == Place("join", other, "RAY_ADDRESS")
        assert rule(ray, told) == Place("join", ray, "--address")
        assert rule("auto", told) == Place("join", other, "RAY_ADDRESS")
        assert rule("auto", here) == Place("join", ray, "--address")
        assert rule("local", told) == Place("local", "local", "--address")
    web = rule("https://head:8265/", here)
    assert (web.kind, web.address, web.launched) == ("submit", "https://head:8265", launched)


def test_a_mark_of_a_ray_that_is_gone(here: Here) -> None:
    """Nobody listens there any more, or somebody else does."""
    mark(here, f"127.0.0.1:{free_port()}")
    assert rule(None, here).kind == "local"
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web:
        mark(here, web)
        assert rule(None, here).kind == "local"


@pytest.mark.parametrize(
    ("text", "state", "kind"),
    [
        (ON_PREM, "running", "submit"),
        (ON_PREM, "terminated", "local"),
        (CLOUD, "", "submit"),
        ("cluster_name: lab\n", "", "local"),
        ("{", "", "local"),
        ("- a list", "", "local"),
    ],
)
def test_what_the_launcher_knows(here: Here, text: str, state: str, kind: str) -> None:
    up(here, text, state)
    assert rule(None, here).kind == kind


def test_never_brought_up(here: Here) -> None:
    """A file alone is no cluster, nor are the states of others."""
    (here.folder / "cluster.yaml").write_text(ON_PREM)
    (here.temp / "cluster-other.state").write_text("{}")
    (here.temp / "cluster-lab.state").write_text("torn {")
    assert rule(None, here).kind == "local"
    (here.folder / "cluster.yaml").write_text(CLOUD)
    (here.caches / "ray-config-1").write_text("torn {")
    other = {"config": {"cluster_name": "other", "provider": {"type": "aws"}}}
    (here.caches / "ray-config-2").write_text(json.dumps(other))
    assert rule(None, here).kind == "local"


def test_a_cloud_has_no_address_here(here: Here) -> None:
    up(here, CLOUD)
    launched = rule(None, here).launched
    assert launched == Launched(here.folder / "cluster.yaml", "lab", None, None, 8266)


@pytest.mark.parametrize(
    ("address", "law"),
    [
        ("ray://head:10001", "a sweep runs inside a cluster, not through a client of it"),
        ("192.0.2.1:6379", "but 192.0.2.1 is another machine"),
        ("no.such.host.invalid:6379", "but no.such.host.invalid is another machine"),
        ("nonsense", "--address is auto, local, HOST:PORT of a Ray, or http://HOST:PORT"),
        ("127.0.0.1:99999", "--address is auto, local, HOST:PORT of a Ray, or http://HOST:PORT"),
        ("auto", "but none answers here"),
    ],
)
def test_what_cannot_work_is_refused_at_once(here: Here, address: str, law: str) -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        rule(address, here)
    assert law in str(caught.value)
    assert time.monotonic() - start < 20  # a connection that is not answered takes minutes
    if "another machine" in law or "client" in law:
        assert "ray exec cluster.yaml" in str(caught.value)
        assert "ray dashboard cluster.yaml" in str(caught.value)


def test_who_listens_there_is_asked(here: Here) -> None:
    """Nobody; somebody silent, for three seconds; a web server; each with its reason."""
    start = time.monotonic()
    with pytest.raises(ClusterError, match=r"nobody answers at .*: Connection refused"):
        rule(f"127.0.0.1:{free_port()}", here)
    with listening(None) as silent, pytest.raises(ClusterError, match=r"within 3 s.*is none"):
        rule(silent, here)
    web = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with listening(web) as address, pytest.raises(ClusterError, match="is none"):
        rule(address, here)
    assert time.monotonic() - start < 30


def test_a_worker_node_may_name_its_head(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, "answers_as_ray", lambda host, port: None)
    mark(here, "192.0.2.1:6379")
    assert rule("192.0.2.1:6379", here) == Place("join", "192.0.2.1:6379", "--address")


def test_which_addresses_are_mine() -> None:
    assert is_mine("127.0.0.1")
    assert is_mine("localhost")
    assert is_mine(socket.gethostbyname(socket.gethostname()))
    assert not is_mine("192.0.2.1")


def node(ip: str, **labels: str) -> dict[str, Any]:
    total = {"CPU": 4.0, "GPU": 1.0}
    known = {"node_ip": ip, "is_head_node": ip.endswith("1"), "labels": labels}
    return {"state": "ALIVE", "resources_total": total, **known}


@pytest.fixture
def served() -> Iterator[Callable[[list[dict[str, Any]]], str]]:
    """A dashboard that lists nodes to whoever shows the token ``right``."""
    servers = []

    def serve(nodes: list[dict[str, Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                let_in = self.headers.get("Authorization") == "Bearer right"
                self.send_response(200 if let_in else 401)
                self.end_headers()
                self.wfile.write(json.dumps({"data": {"result": {"result": nodes}}}).encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Be quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join(5)
        server.server_close()


def test_a_dashboard_of_another_cluster_is_told_apart(
    served: Callable[[list[dict[str, Any]]], str],
) -> None:
    url = served([node("10.0.0.1", cluster="lab"), node("10.0.0.2")])
    dashboard = Dashboard(url, "right")
    assert str(dashboard.seen("there")) == "there: 2 nodes, 8 CPUs, 2 GPUs"
    file = Path("cluster.yaml")
    assert Launched(file, "any", "10.0.0.1").is_behind(dashboard)
    assert not Launched(file, "any", "10.0.0.2").is_behind(dashboard)
    assert Launched(file, "lab", None).is_behind(dashboard)
    assert not Launched(file, "other", None).is_behind(dashboard)
    with pytest.raises(RefusedError, match="the token it was shown is not its own"):
        Dashboard(url, "wrong").nodes()
    assert "right" not in repr(dashboard)


def test_a_cluster_that_is_down_is_told_of_and_the_sweep_runs_here(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(here)
    monkeypatch.setattr(where, "Here", lambda: here)
    monkeypatch.setattr(where, "DASHBOARD", free_port())
    monkeypatch.setattr(where, "SSH", free_port())
    told: list[str] = []
    with where.reached(None, told.append) as found:
        assert found.place.kind == "local"
        assert found.dashboard is None
    assert len(told) == 1
    assert "cluster.yaml was brought up, but is not used: nobody answers at 127.0.0.1" in told[0]
