"""Hosts on one machine, each with an ssh server, in namespaces that are made for them.

Every host has its own network, processes, mounts, name, /tmp, /root, /run and /dev/shm. Each of
these is needed: ``ray stop``, which ``ray up`` runs on every host, ends every Ray that it can see,
and Ray's notes on clusters lie in /tmp. The hosts hang on a switch in a namespace of its own, so
that this machine's network is not touched, and their default route ends at a sniffer that notes
every packet for somewhere else, and every name that is looked up.

For looking around, as root: ``python -m tests.cluster.hosts`` brings up four and opens a shell.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENV = Path(sys.prefix)
PROGRAMS = {
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
    "ip": "iproute2",
    "ps": "procps",
    "tini": "tini",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""What is needed, and the Debian package that has it."""

SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHARED = "/mnt/shared"
"""A folder that all hosts see, as over NFS."""

NET = "10.77.0"
CLONE_NEWNET = 0x40000000
counter = itertools.count()


def missing() -> str | None:
    """Why there can be no hosts here, or None."""
    if sys.platform != "linux":
        return "namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root may make namespaces"
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM])
    absent = sorted({p for name, p in PROGRAMS.items() if shutil.which(name, path=path) is None})
    if absent:
        return f"not installed: {', '.join(absent)}"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--uts", "--ipc", "true"],
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


def do(*words: str | Path) -> str:
    """Run a command of the system, which must succeed."""
    line = [str(word) for word in words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(line)}: {done.stderr.strip()}")
    return done.stdout


def ends(line: str) -> tuple[str, str]:
    """The local address and the state of a socket, of a line of the kernel's table."""
    columns = line.split()
    return columns[1], columns[3]


class Host:
    """One of the hosts: a pid 1 that is tini, with sshd below it."""

    def __init__(self, network: Network, name: str, address: str) -> None:
        self.network, self.name, self.address = network, name, address
        self.space = f"{network.tag}-{name}"
        self.folder = network.folder / name
        self.cable = f"{network.tag}{next(counter)}"
        self.process: subprocess.Popen[bytes] | None = None
        self.init = 0
        do("ip", "netns", "add", self.space)
        do("ip", "-n", self.space, "link", "set", "lo", "up")
        switch = network.switch
        do("ip", "-n", self.space, "link", "add", "eth0", "type", "veth",
           "peer", "name", self.cable, "netns", switch)  # fmt: skip
        do("ip", "-n", switch, "link", "set", self.cable, "master", "br0", "up")
        do("ip", "-n", self.space, "address", "add", f"{address}/{network.prefix}", "dev", "eth0")
        do("ip", "-n", self.space, "link", "set", "eth0", "up")
        # Ray finds its own address by asking which one it would reach the world from.
        do("ip", "-n", self.space, "route", "add", "default", "via", network.gateway)
        self._furnish()
        self.boot()

    def _furnish(self) -> None:
        for name, mode in (("tmp", 0o1777), ("root", 0o700), ("root/.ssh", 0o700), ("run", 0o755)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name).chmod(mode)
        (self.folder / "run/sshd").mkdir()
        home = self.home
        shutil.copy(self.network.key.with_suffix(".pub"), home / ".ssh/authorized_keys")
        (home / ".bashrc").write_text(self.network.bashrc)
        (home / ".profile").write_text(". ~/.bashrc\n")

    def boot(self) -> None:
        """Switch the host on; what its disk held is there again, its /dev/shm is empty."""
        script = self.folder / "init.sh"
        script.write_text(self._init())
        with (self.folder / "console").open("ab") as console:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, "unshare", "--mount", "--pid", "--fork",
                 "--uts", "--ipc", "--kill-child", "bash", str(script)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{self.name}: {(self.folder / 'console').read_text()}")
            time.sleep(0.05)

    def _init(self) -> str:
        hidden = ("/root", "/run", "/tmp")
        # The project and its environment, where they would be hidden.
        seen = [
            path
            for path in dict.fromkeys([ROOT, VENV, Path(sys.base_prefix), *self.network.shown])
            if any(path.is_relative_to(folder) for folder in hidden)
        ]
        keep = [f"{self.folder}/seen{i}" for i in range(len(seen))]
        lines = [
            "set -e",
            f"hostname {self.name}",
            "mount --make-rprivate /",
            f"mount -t tmpfs tmpfs {Path(SHARED).parent}; mkdir -p {SHARED}",
            f"mount --bind {self.network.folder}/shared {SHARED}",
            *(f"mount --bind {self.network.folder}/{name} /etc/{name}"
              for name in ("hosts", "resolv.conf")),
            *(f"mkdir -p {to}; mount --bind {path} {to}"
              for path, to in zip(seen, keep, strict=True)),
            *(f"mount --bind {self.folder}{path} {path}" for path in hidden),
            "mount -t tmpfs -o size=12g tmpfs /dev/shm",
            *(f"mkdir -p {path}; mount --bind {to} {path}"
              for path, to in zip(seen, keep, strict=True)),
            "mount -t proc proc /proc",
            f"exec env -i PATH={SYSTEM} HOME=/root tini -g -- "
            f"/usr/sbin/sshd -D -e -f {self.network.folder}/sshd_config",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _answers(self) -> bool:
        """Whether sshd listens; notes which process is the host's pid 1."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            self.init = int((children.read_text().split() or ["0"])[0])
        if not self.init:
            return False
        with contextlib.suppress(OSError):
            sockets = Path(f"/proc/{self.init}/net/tcp").read_text().splitlines()[1:]
            # What a connection leaves for a minute after a power cut has the same port.
            return any(own.endswith(":0016") and state == "0A" for own, state in map(ends, sockets))
        return False

    def words(self, command: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs a command on this host, as at a terminal there."""
        inside = ["--target", str(self.init), "-m", "-p", "-u", "-i", "-n"]
        plain = {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "TERM": "dumb"}
        variables = {**plain, "PATH": SYSTEM, **(environment or {})}
        return [
            "nsenter", *inside, "env", "-i", *(f"{k}={v}" for k, v in variables.items()),
            "bash", "-c", f"cd; . ~/.bashrc; {command}",
        ]  # fmt: skip

    def run(self, command: str, timeout: float = 60, *, check: bool = True) -> str:
        """What a command prints here. Raises if it fails, unless told not to."""
        done = subprocess.run(
            self.words(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}$ {command}\n{done.stdout}\nexit {done.returncode}")
        return done.stdout

    def start(self, command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command here that goes on, and writes to a file of ours."""
        with log.open("wb") as file:
            return subprocess.Popen(
                self.words(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def home(self) -> Path:
        """Where the home of its user lies, be the host switched on or off."""
        return self.folder / "root"

    def cut(self) -> None:
        """Pull the network cable."""
        do("ip", "-n", self.network.switch, "link", "set", self.cable, "down")

    def heal(self) -> None:
        do("ip", "-n", self.network.switch, "link", "set", self.cable, "up")

    def kill(self) -> None:
        """Power off: every process of the host is gone at once."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        self.process.wait(10)

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        do("ip", "netns", "del", self.space)


class Network:
    """A switch with hosts on it, which read ``bashrc`` at each login and see the folders ``shown``
    of this machine where their own would hide them. Use it in a with statement."""

    def __init__(
        self,
        net: str = NET,
        prefix: int = 24,
        bashrc: str = f'export PATH="{VENV}/bin:$PATH"\n',
        shown: Sequence[Path] = (),
    ) -> None:
        self.tag = f"sw{os.getpid() % 100000}"
        self.switch = f"{self.tag}-switch"
        self.net, self.prefix, self.gateway = net, prefix, f"{net}.1"
        self.bashrc, self.shown = bashrc, shown
        self.folder = Path(tempfile.mkdtemp(prefix="swh-", dir="/var/tmp"))
        self.key = self.folder / "id"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Network:
        try:
            self._lay()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lay(self) -> None:
        (self.folder / "shared").mkdir()
        for name in ("id", "hostkey"):
            do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n")
        (self.folder / "resolv.conf").write_text(f"nameserver {self.gateway}\n")
        settings = [
            "Port 22", f"HostKey {self.folder}/hostkey", "PermitRootLogin prohibit-password",
            "PasswordAuthentication no", "AuthorizedKeysFile .ssh/authorized_keys",
            "StrictModes no", "UsePAM no", "PidFile none", "AcceptEnv LANG LC_*",
            "MaxStartups 100:30:200", "MaxSessions 100",
        ]  # fmt: skip
        (self.folder / "sshd_config").write_text("\n".join(settings) + "\n")
        do("ip", "netns", "add", self.switch)
        do("ip", "-n", self.switch, "link", "set", "lo", "up")
        do("ip", "-n", self.switch, "link", "add", "br0", "type", "bridge")
        do("ip", "-n", self.switch, "link", "set", "br0", "up")
        do("ip", "-n", self.switch, "address", "add", f"{self.gateway}/{self.prefix}", "dev", "br0")
        self.sniffer = Sniffer(self.switch, f"{self.net}.0", self.prefix, self.gateway)

    def add(self, name: str, address: str, *, trusted: bool = False) -> Host:
        """One more host; a trusted one holds the key to the others."""
        host = self.hosts[name] = Host(self, name, address)
        if trusted:
            shutil.copy(self.key, host.home / ".ssh/id_ed25519")
            (host.home / ".ssh/id_ed25519").chmod(0o600)
        with (self.folder / "hosts").open("a") as file:
            file.write(f"{address} {name}\n")
        return host

    def remove(self, name: str) -> None:
        self.hosts.pop(name).remove()

    def close(self) -> None:
        """Switch everything off, and leave nothing behind."""
        for name in list(self.hosts):
            self.remove(name)
        if hasattr(self, "sniffer"):
            self.sniffer.close()
        with contextlib.suppress(RuntimeError):
            do("ip", "netns", "del", self.switch)
        shutil.rmtree(self.folder, ignore_errors=True)


class Sniffer:
    """Notes what arrives at the end of the hosts' default route: packets for elsewhere, and names
    that are looked up."""

    def __init__(self, space: str, net: str, prefix: int, gateway: str) -> None:
        size = 1 << (32 - prefix)
        self.low = number(net) // size * size
        self.high = self.low + size
        self.gateway = number(gateway)
        self.foreign: set[tuple[str, str]] = set()
        """Who sent something to an address that is not on the switch."""
        self.names: set[tuple[str, str]] = set()
        """Who looked up which name."""
        self.socket = inside(space)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            try:
                packet = self.socket.recv(65535)
            except OSError:
                return
            self.note(packet)

    def note(self, packet: bytes) -> None:
        """Look at one IPv4 packet."""
        if len(packet) < 20 or packet[0] >> 4 != 4:
            return
        to = struct.unpack("!I", packet[16:20])[0]
        sender = socket.inet_ntoa(packet[12:16])
        body = packet[(packet[0] & 15) * 4 :]
        if not self.low <= to < self.high and to >> 28 != 0b1110:  # multicast stays on the switch
            self.foreign.add((sender, socket.inet_ntoa(packet[16:20])))
        elif to == self.gateway and packet[9] == socket.IPPROTO_UDP and body[2:4] == b"\0\x35":
            self.names.add((sender, asked(body[8:])))

    def close(self) -> None:
        # A thread that waits in recv is woken by nothing else.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def number(address: str) -> int:
    return int(struct.unpack("!I", socket.inet_aton(address))[0])


def asked(query: bytes) -> str:
    """The name that a DNS query asks for."""
    labels, at = [], 12
    while at < len(query) and query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    return ".".join(labels)


def inside(space: str) -> socket.socket:
    """A socket that sees every IPv4 packet on a namespace's switch."""
    opened: list[socket.socket] = []

    def enter() -> None:  # of this one thread alone, which ends with it
        with Path(f"/run/netns/{space}").open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        found = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        found.bind(("br0", 0x0800))
        opened.append(found)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return opened[0]


@contextlib.contextmanager
def office(workers: Sequence[str] = ("w1", "w2")) -> Iterator[Network]:
    """A laptop, a head and workers, on one switch."""
    with Network() as network:
        network.add("laptop", f"{NET}.5", trusted=True)
        network.add("head", f"{NET}.10")
        for i, name in enumerate(workers):
            network.add(name, f"{NET}.{11 + i}")
        yield network


if __name__ == "__main__":
    if reason := missing():
        sys.exit(reason)
    with office() as around:
        print(*(f"{h.name} {h.address}" for h in around.hosts.values()), sep="\n")
        subprocess.run(around.hosts["laptop"].words("bash -i"))
