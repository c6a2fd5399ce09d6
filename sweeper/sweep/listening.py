"""Who on this machine listens to others, as Linux tells it, and whether it is a Ray that lets
anybody in."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
PARTS = {"gcs_server": "Ray's control store", "dashboard.py": "Ray's dashboard"}
"""The programs of a Ray whose port is a way in, by the name of their file."""
PATIENCE = 3.0

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Process:
    """A process, as far as we may look into it."""

    pid: int
    words: tuple[str, ...]
    environ: Mapping[str, str]

    @property
    def part(self) -> str | None:
        """Which part of a Ray it is, if it is one that others are let in by."""
        names = {os.path.basename(word) for word in self.words[:4]}
        return next((said for name, said in PARTS.items() if name in names), None)


@dataclass(frozen=True)
class Open:
    """A port that others can reach, and a part of Ray behind it."""

    process: Process
    part: str
    address: Address
    port: int

    @property
    def guarded(self) -> bool:
        """Whether it asks for a token: a dashboard is asked, a control store was told at its
        start."""
        if self.process.part != PARTS["dashboard.py"]:
            return self.process.environ.get("RAY_AUTH_MODE") == "token"
        host = "127.0.0.1" if self.address.is_unspecified else str(self.address)
        host = f"[{host}]" if ":" in host else host
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"http://{host}:{self.port}/nodes?view=summary", timeout=PATIENCE).close()
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)
        except OSError:
            return self.process.environ.get("RAY_AUTH_MODE") == "token"
        return False


def reachable(proc: Path = PROC) -> Iterator[Open]:
    """The parts of any Ray here that listen on more than loopback."""
    sockets = {inode: (address, port) for inode, address, port in listening(proc)}
    for process in processes(proc):
        if (part := process.part) is None:
            continue
        for inode in held(process.pid, proc) & sockets.keys():
            address, port = sockets[inode]
            if not address.is_loopback:
                yield Open(process, part, address, port)


def listening(proc: Path = PROC) -> Iterator[tuple[str, Address, int]]:
    """Every TCP socket that listens: its inode, address and port."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == LISTEN:
                    address, _, port = columns[1].partition(":")
                    yield columns[9], read_address(address), int(port, 16)


def read_address(kernel: str) -> Address:
    """An address as the kernel writes it: words of four bytes, each the wrong way round."""
    words = [bytes.fromhex(kernel[i : i + 8])[::-1] for i in range(0, len(kernel), 8)]
    found = ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found


def processes(proc: Path = PROC) -> Iterator[Process]:
    """Every process that we may look into. Those that end meanwhile are left out."""
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = split(folder / "cmdline")
            pairs = (word.partition("=") for word in split(folder / "environ"))
            yield Process(int(folder.name), words, {name: value for name, _, value in pairs})


def split(path: Path) -> tuple[str, ...]:
    return tuple(path.read_bytes().decode(errors="replace").split("\0"))


def held(pid: int, proc: Path = PROC) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    with contextlib.suppress(OSError):
        for link in (proc / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if socket := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                    found.add(socket[1])
    return found
