"""Where a sweep runs: on a Ray of its own, on one that this machine belongs to, or on a cluster
that it is sent to."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

PATIENCE = 3.0
"""Seconds that whoever is named by an address has to answer."""
LISTING = 15.0
FORWARDING = 30.0
"""Seconds for Ray's launcher to log in to a head that is known to be there."""
COPYING = 3600.0
DASHBOARD = 8265
SSH = 22
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""How HTTP/2, and so gRPC, begins: an empty frame of settings, whose fourth byte says so."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
LAUNCHER = "cluster.yaml"
LABEL = "cluster"
"""The label of a head, ``ray start --labels=cluster=NAME``, that says which cluster it is of."""

Say = Callable[[str], None]

WAYS = """\
  on its head:     ray exec cluster.yaml --tmux 'sweeper run …'
  from elsewhere:  ray dashboard cluster.yaml, and --address http://localhost:8265"""


class ClusterError(RuntimeError):
    """No Ray could be started, joined or reached."""


@dataclass(frozen=True)
class Cluster:
    """The Ray that a sweep runs on."""

    where: str
    nodes: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{self.where}: {nodes}, {self.cpus} CPUs, {self.gpus} GPUs"


@dataclass(frozen=True)
class Place:
    """Where to run, and who said so.

    ``kind`` is ``local`` for a Ray of our own, ``join`` for one that this machine belongs to, whose
    ``address`` is HOST:PORT, and ``submit`` for a cluster behind a dashboard, whose ``address`` is
    a URL. ``launched`` is the cluster behind it as Ray's launcher knows it, if it does.
    """

    kind: Literal["local", "join", "submit"]
    address: str
    by: str
    launched: Launched | None = None


@dataclass(frozen=True)
class Here:
    """What the rule looks at: the environment, Ray's state on this machine, this folder."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    temp: Path = field(default_factory=lambda: ray_temp(os.environ))
    caches: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    folder: Path = field(default_factory=Path.cwd)

    def member(self) -> str | None:
        """The address of the Ray that this machine belongs to, by the mark ``ray start`` leaves;
        None if nobody answers there any more."""
        try:
            address = (self.temp / "ray_current_cluster").read_text().strip()
            answers_as_ray(*parts(address))
        except (OSError, ClusterError):
            return None
        return address


def ray_temp(environ: Mapping[str, str]) -> Path:
    """Where Ray keeps its state, as Ray itself finds it."""
    return Path(environ.get("RAY_TMPDIR") or environ.get("TMPDIR") or "/tmp") / "ray"


def rule(given: str | None, here: Here) -> Place:
    """Where a sweep runs; the first that applies: ``--address``, RAY_ADDRESS, the Ray that this
    machine belongs to, the cluster of ``./cluster.yaml`` if Ray's state here says that it was
    brought up, a Ray of our own.

    Nobody but this machine is asked. Raises ClusterError for an address that cannot work.
    """
    if given:
        return named(given, "--address", here)
    if variable := here.environ.get("RAY_ADDRESS"):
        return named(variable, "RAY_ADDRESS", here)
    if member := here.member():
        return Place("join", member, "this machine's Ray")
    if launched := brought_up(here.folder / LAUNCHER, here):
        return Place("submit", "", LAUNCHER, launched)
    return Place("local", "local", "no other Ray is at hand")


def named(address: str, by: str, here: Here) -> Place:
    """The place that an address names. Raises ClusterError, at once, for what Ray would wait
    minutes for."""
    if address == "local":
        return Place("local", "local", by)
    if address.startswith(("http://", "https://")):
        return Place("submit", address.rstrip("/"), by, brought_up(here.folder / LAUNCHER, here))
    if "://" in address:
        law = "a sweep runs inside a cluster, not through a client of it"
        raise ClusterError(f"{law}, but {by} is {address!r}; what works:\n{WAYS}")
    member = here.member()
    if address == "auto":
        inside = here.environ.get("RAY_ADDRESS", "")  # as the jobs of a cluster are told
        if by != "RAY_ADDRESS" and inside not in ("", "auto"):
            return named(inside, "RAY_ADDRESS", here)
        if member is None:
            law = f"{by} auto is the Ray that this machine belongs to"
            raise ClusterError(f"{law}, but none answers here; ray start --head starts one")
        return Place("join", member, by)
    host, port = parts(address, by)
    if address != member and not is_mine(host):
        law = f"{by} HOST:PORT is a Ray that this machine belongs to"
        raise ClusterError(f"{law}, but {host} is another machine; what works:\n{WAYS}")
    answers_as_ray(host, port)
    return Place("join", address, by)


def parts(address: str, by: str = "--address") -> tuple[str, int]:
    """HOST and PORT. Raises ClusterError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        law = f"{by} is auto, local, HOST:PORT of a Ray, or http://HOST:PORT of its dashboard"
        raise ClusterError(f"{law}, but got {address!r}")
    return host.strip("[]"), int(port)


def is_mine(host: str) -> bool:
    """Whether a name or address is one of this machine's: only those can be bound to. A name that
    nobody knows is not."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
            else:
                return True
    return False


def answers_as_ray(host: str, port: int) -> None:
    """See that a Ray answers there: its head greets who calls in gRPC. Raises ClusterError with the
    reason, where Ray would wait half a minute."""
    with called(host, port) as line:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):
            return
        try:
            line.sendall(GREETING)
            greeted = line.recv(len(SETTINGS), socket.MSG_WAITALL)
        except OSError:
            greeted = b""
    if greeted[3:4] != SETTINGS[3:4]:
        law = f"a Ray answers within {PATIENCE:g} s"
        raise ClusterError(f"{law}, but what listens at {host}:{port} is none")


def called(host: str, port: int) -> socket.socket:
    """A line to whoever listens there. Raises ClusterError with the reason."""
    try:
        return socket.create_connection((host, port), timeout=PATIENCE)
    except OSError as error:
        raise ClusterError(f"nobody answers at {host}:{port}: {error.strerror or error}") from None


@dataclass(frozen=True)
class Launched:
    """A cluster that Ray's launcher brought up from a file, as far as this machine knows."""

    file: Path
    name: str
    head: str | None
    """Its head's address within, where the file names it; clouds know it by themselves."""
    door: str | None = None
    """Where its head is logged in to from here, if that can be told without Ray's launcher."""
    port: int = DASHBOARD

    def is_behind(self, dashboard: Dashboard) -> bool:
        """Whether a dashboard is that of this cluster: by the head's address, or its label."""
        heads = [node for node in dashboard.nodes() if node.get("is_head_node")]
        if self.head is not None:
            return any(node.get("node_ip") == self.head for node in heads)
        return any(node.get("labels", {}).get(LABEL) == self.name for node in heads)

    def fetch(self, path: str, into: Path) -> None:
        """Copy a file, or what is in a folder if the path ends in a slash, from the head's home.
        Raises ClusterError."""
        self.told("rsync-down", path, str(into), timeout=COPYING)

    def told(self, command: str, *words: str, timeout: float) -> str:
        """What a command of Ray's launcher says. Raises ClusterError when it fails."""
        try:
            done = subprocess.run(
                launcher(command, self.file, *words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(
                f"ray {command} {self.file} takes more than {timeout:.0f} s"
            ) from None
        if done.returncode:
            raise ClusterError(f"ray {command} {self.file} fails: {last_line(done.stdout)}")
        return done.stdout


def launcher(command: str, file: Path, *words: str) -> list[str]:
    """A command of Ray's launcher, of the very Ray that is installed with us."""
    return [sys.executable, "-m", "ray.scripts.scripts", command, str(file), *words]


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def brought_up(file: Path, here: Here) -> Launched | None:
    """The cluster of a file, if the state that ``ray up`` leaves on this machine says that it was
    brought up and not taken down.

    For machines of one's own that is ``cluster-NAME.state`` in Ray's folder, which ``ray down``
    updates. For clouds it is the resolved configuration, ``ray-config-…`` in the temp folder: it
    says that the cluster was once brought up, and nothing of whether it still is.
    """
    try:
        config = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        name, provider = str(config["cluster_name"]), config["provider"]
        kind, auth = str(provider["type"]), config.get("auth") or {}
    except (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError, AttributeError):
        return None
    head = str(provider["head_ip"]) if "head_ip" in provider else None
    up = head_runs(here.temp, name, head) if head else was_resolved(here.caches, name, kind)
    if not up:
        return None
    commands = " ".join(map(str, config.get("head_start_ray_commands") or []))
    port = re.search(r"--dashboard-port[= ](\d+)", commands)
    door = None if "ssh_proxy_command" in auth else provider.get("external_head_ip") or head
    return Launched(file, name, head, door, int(port[1]) if port else DASHBOARD)


def head_runs(temp: Path, name: str, head: str) -> bool:
    """Whether the state of a cluster of one's own machines has its head running."""
    try:
        state = json.loads((temp / f"cluster-{name}.state").read_text())
        return bool(state[head]["state"] == "running")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def was_resolved(caches: Path, name: str, kind: str) -> bool:
    """Whether Ray's launcher has resolved a configuration of this name and provider."""
    for path in caches.glob("ray-config-*"):
        try:
            config = json.loads(path.read_text())["config"]
            if config["cluster_name"] == name and config["provider"]["type"] == kind:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False


class RefusedError(ClusterError):
    """A dashboard wants a token, and not the one it was shown."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard of Ray, asked in plain HTTP, and the token that is shown to it."""

    url: str
    token: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def ask(
        self, path: str, body: Mapping[str, Any] | None = None, timeout: float = PATIENCE
    ) -> Any:
        """What it answers, as JSON; a body is posted. Raises ClusterError with the reason when it
        does not answer, and RefusedError when it does not let us in."""
        law = f"no dashboard of Ray answers at {self.url}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **self.headers}
        try:
            request = urllib.request.Request(self.url + path, data, headers)
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403):
                shown = "the token it was shown is not its own" if self.token else "none is here"
                raise RefusedError(
                    f"{self.url} asks for a token, and {shown}: copy ~/.ray/auth_token from the "
                    "head to ~/.ray/auth_token here, readable by you alone"
                ) from None
            raise ClusterError(f"{law}: {error.code} {error.reason}") from None
        except TimeoutError:
            raise ClusterError(f"{law} within {timeout:g} s") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise ClusterError(f"{law} within {timeout:g} s") from None
            raise ClusterError(f"{law}: {getattr(reason, 'strerror', None) or reason}") from None

    def nodes(self) -> list[dict[str, Any]]:
        """Its nodes that are alive, as Ray's state API lists them. Raises ClusterError."""
        self.ask("/api/version")  # which is there at once, while a list may take a while
        answer = self.ask("/api/v0/nodes", timeout=LISTING)
        try:
            return [n for n in answer["data"]["result"]["result"] if n["state"] == "ALIVE"]
        except (KeyError, TypeError):
            raise ClusterError(f"what answers at {self.url} is no dashboard of Ray") from None

    def seen(self, where: str) -> Cluster:
        """How large its cluster is. Raises ClusterError."""
        nodes = self.nodes()

        def total(kind: str) -> int:
            return int(sum(node["resources_total"].get(kind, 0) for node in nodes))

        return Cluster(where, len(nodes), total("CPU"), total("GPU"))


def token_of(environ: Mapping[str, str]) -> str | None:
    """The token that this user has for clusters, where Ray keeps it; None if there is none, or it
    is not to be shown."""
    if environ.get("RAY_AUTH_MODE") == "disabled":
        return None
    if token := environ.get("RAY_AUTH_TOKEN"):
        return token
    path = environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"
    try:
        return Path(path).expanduser().read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


@dataclass(frozen=True)
class Reached:
    """A place that answers: what a sweep is run on, and its dashboard if it is to be sent there."""

    place: Place
    dashboard: Dashboard | None = None
    cluster: Cluster | None = None


@contextlib.contextmanager
def reached(given: str | None, say: Say) -> Iterator[Reached]:
    """The place of the rule, reached. A cluster of ``./cluster.yaml`` that does not answer is told
    of, and the sweep runs here. Raises ClusterError for any other that does not."""
    place = rule(given, Here())
    with contextlib.ExitStack() as stack:
        if place.kind != "submit":
            yield Reached(place)
        elif place.address:
            dashboard = Dashboard(place.address, token_of(os.environ))
            size = dashboard.seen(f"the cluster at {place.address}")
            launched = place.launched
            if launched and not launched.is_behind(dashboard):
                launched = None
            place = Place("submit", place.address, place.by, launched)
            yield Reached(place, dashboard, size)
        else:
            assert place.launched is not None
            try:
                dashboard = stack.enter_context(opened(place.launched, say))
                size = dashboard.seen(f"the cluster of {LAUNCHER}, {place.launched.name}")
            except ClusterError as error:
                say(f"{LAUNCHER} was brought up, but is not used: {error}")
                yield Reached(Place("local", "local", place.by))
                return
            place = Place("submit", dashboard.url, place.by, place.launched)
            yield Reached(place, dashboard, size)


@contextlib.contextmanager
def opened(launched: Launched, say: Say) -> Iterator[Dashboard]:
    """The dashboard of a launched cluster: that which is forwarded already, or forwarded for as
    long as it is needed. Raises ClusterError."""
    at_hand = Dashboard(f"http://localhost:{DASHBOARD}", token_of(os.environ))
    if shows(at_hand, launched):
        yield at_hand
        return
    if launched.door is not None:
        called(launched.door, SSH).close()
    else:
        say(f"asking for the head of {launched.name}, as ray dashboard {LAUNCHER} does")
    with forwarded(launched) as url:
        yield let_in(launched, Dashboard(url, token_of(os.environ)))


def shows(dashboard: Dashboard, launched: Launched) -> bool:
    """Whether a dashboard answers, lets us in, and is that of a launched cluster."""
    try:
        return launched.is_behind(dashboard)
    except ClusterError:
        return False


def let_in(launched: Launched, dashboard: Dashboard) -> Dashboard:
    """A dashboard with a token that it takes: this user's, else the one that lies on the head,
    which whoever may log in there may have. Raises ClusterError."""
    try:
        dashboard.ask("/api/version")
    except RefusedError:
        with tempfile.TemporaryDirectory(prefix="swt-") as folder:
            path = Path(folder) / "auth_token"
            launched.fetch("~/.ray/auth_token", path)
            dashboard = Dashboard(dashboard.url, path.read_text().strip())
        dashboard.ask("/api/version")
    return dashboard


@contextlib.contextmanager
def forwarded(launched: Launched) -> Iterator[str]:
    """The URL on this machine at which ``ray dashboard`` shows the dashboard of a cluster, through
    ssh. Raises ClusterError."""
    port = free_port()
    words = ("--port", str(port), "--remote-port", str(launched.port))
    with tempfile.TemporaryFile("w+") as output:
        # In a session of its own, so that Ctrl-C is ours alone; and with an input that stays open,
        # at whose end ssh would leave.
        process = subprocess.Popen(
            launcher("dashboard", launched.file, *words),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + FORWARDING
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    told = f"ray dashboard {shlex.quote(str(launched.file))}"
                    raise ClusterError(f"{told} fails: {last_line(output.read())}")
                time.sleep(0.1)
            yield f"http://localhost:{port}"
        finally:
            ended(process)


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and all that it began."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=PATIENCE)
            return


@contextlib.contextmanager
def lent(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True
