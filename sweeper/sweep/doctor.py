"""Whether this machine is fit for a sweep, and what to do where it is not."""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import json
import os
import re
import resource
import shutil
import socket
import sqlite3
import stat
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from sweeper.ledger.ledger import holder
from sweeper.ledger.redact import hide
from sweeper.sweep.listening import PROC, Process, processes, reachable
from sweeper.sweep.storage import Storage, StorageError
from sweeper.sweep.where import ClusterError, Here, rule

GIB = 1 << 30
ROOM = 5 * GIB
"""Checkpoints and samples of a usual sweep fit into this."""
LITTLE = GIB // 2
SHARED = GIB
"""Ray keeps what its processes share in /dev/shm."""
FILES = 4096
PRIVATE = 0o600
FRESH = 600.0
"""Seconds for which a session folder may be one that a Ray is being started in."""
PATIENCE = 5.0
SHORT = Path("/tmp")
"""Where sessions are when the system's temp folder has a long name."""
NEEDED = ("torch", "ray", "optuna", "mlflow")

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what to do about it."""

    name: str
    level: Level
    says: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"\n{'':8}→ {self.advice}" if self.advice else ""
        return f"{self.level:<6}  {self.name:<13}  {self.says}{advice}"


@dataclass(frozen=True)
class Machine:
    """What is looked at: this machine, and what a sweep on it would be told."""

    out: Path = Path("results")
    address: str | None = None
    storage: str | None = None
    tracking: str | None = None
    fix: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    temps: Sequence[Path] = field(default_factory=lambda: (Path(tempfile.gettempdir()), SHORT))
    shared: Path = Path("/dev/shm")
    proc: Path = PROC


Check = Callable[[Machine], Iterator[Finding]]


def examine(machine: Machine) -> Iterator[Finding]:
    """Look at everything. A look that fails is itself a finding."""
    for check in CHECKS:
        try:
            yield from check(machine)
        except Exception as error:
            name = check.__name__.replace("_", " ")
            yield Finding(name, "warn", hide(f"cannot be told: {type(error).__name__}: {error}"))


def told(findings: Sequence[Finding], *, as_json: bool) -> str:
    """The findings on one screen, or as JSON."""
    fit = not any(finding.level == "fail" for finding in findings)
    if as_json:
        plain = [asdict(finding) for finding in findings]
        return json.dumps({"schema": 1, "ok": fit, "findings": plain}, indent=2)
    bad = sum(finding.level == "fail" for finding in findings)
    odd = sum(finding.level == "warn" for finding in findings)
    end = f"{bad or 'nothing'} to be mended, {odd or 'nothing'} to be looked at"
    return "\n".join([*map(str, findings), "", end])


def versions(machine: Machine) -> Iterator[Finding]:
    """Python and the libraries that a sweep stands on, in the versions that sweeper asks for."""
    about = importlib.metadata.metadata("sweeper")
    wanted = {r.name: r.specifier for r in map(Requirement, about.get_all("Requires-Dist") or [])}
    yield in_range("python", sys.version.split()[0], SpecifierSet(about["Requires-Python"] or ""))
    for name in NEEDED:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "fail", "is not installed", f"pip install '{name}{wanted[name]}'")
        else:
            yield in_range(name, found, wanted[name])


def in_range(name: str, found: str, wanted: SpecifierSet) -> Finding:
    if wanted.contains(found, prereleases=True):
        return Finding(name, "ok", found)
    return Finding(name, "fail", f"{found}, but sweeper needs {wanted}", "install from the lock")


def devices(machine: Machine) -> Iterator[Finding]:
    """What there is to compute with."""
    import torch

    cores = len(os.sched_getaffinity(0))
    if not torch.cuda.is_available():
        yield Finding("devices", "ok", f"{cores} CPUs, no GPU")
        return
    known = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    said = ", ".join(f"{gpu.name} ({gpu.total_memory / GIB:.0f} GiB)" for gpu in known)
    yield Finding("devices", "ok", f"{cores} CPUs, {len(known)} GPUs: {said}")


def room(machine: Machine) -> Iterator[Finding]:
    """Room where results and sessions are kept, in /dev/shm, and for open files."""
    for name, path in (("results", machine.out.resolve()), ("temp folder", machine.temps[0])):
        there = next(folder for folder in (path, *path.parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        level: Level = "fail" if free < LITTLE else "warn" if free < ROOM else "ok"
        advice = "" if level == "ok" else f"make room there, or choose another than {path}"
        if not os.access(there, os.W_OK):
            yield Finding(name, "fail", f"{there} cannot be written to", "choose another folder")
        else:
            yield Finding(name, level, f"{free / GIB:.1f} GiB free in {there}", advice)
    if machine.shared.is_dir():
        size = shutil.disk_usage(machine.shared).total
        small = size < SHARED
        advice = "in a container: docker run --shm-size=2g" if small else ""
        says = f"{size / GIB:.2f} GiB in {machine.shared}"
        yield Finding("shared memory", "warn" if small else "ok", says, advice)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft < FILES
    advice = f"ulimit -n {min(65536, hard)}" if few else ""
    yield Finding("open files", "warn" if few else "ok", f"at most {soft:,}", advice)


def token(machine: Machine) -> Iterator[Finding]:
    """Whether clusters would be asked for, and shown, a token that nobody else can read."""
    environ, mode = machine.environ, machine.environ.get("RAY_AUTH_MODE")
    given = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given or Path(environ.get("HOME", "~"), ".ray", "auth_token")).expanduser()
    there = path.is_file()
    if there and (other := stat.S_IMODE(path.stat().st_mode) & ~PRIVATE):
        says = f"{path} holds the token of clusters, and others may use it ({PRIVATE | other:o})"
        yield Finding("token", "fail", says, f"chmod 600 {path}, and make a new one")
    elif mode == "token" and not (there or environ.get("RAY_AUTH_TOKEN")):
        says = f"RAY_AUTH_MODE is token, but there is none in RAY_AUTH_TOKEN or {path}"
        yield Finding("token", "fail", says, f"ray get-auth-token --generate, or copy it to {path}")
    elif mode == "disabled":
        says = "RAY_AUTH_MODE is disabled: whoever reaches a Ray started here runs code as you"
        yield Finding("token", "warn", says, "unset RAY_AUTH_MODE")
    elif there or environ.get("RAY_AUTH_TOKEN"):
        yield Finding("token", "ok", f"in {path}" if there else "in RAY_AUTH_TOKEN")
    else:
        yield Finding("token", "ok", "none; a local sweep makes its own, a cluster needs one")


def doors(machine: Machine) -> Iterator[Finding]:
    """Parts of a Ray on this machine that let in whoever reaches them."""
    found = list(reachable(machine.proc))
    open_ = [door for door in found if not door.guarded]
    for door in open_:
        says = f"{door.part} (process {door.process.pid}) lets anybody in at port {door.port}"
        advice = "end it, and start it with RAY_AUTH_MODE=token, or --dashboard-host=127.0.0.1"
        yield Finding("open Ray", "fail", f"{says} of {door.address}", advice)
    if not open_:
        said = "asks for a token" if found else "none that others can reach"
        yield Finding("open Ray", "ok", said)


def leftovers(machine: Machine) -> Iterator[Finding]:
    """Session folders of sweeps that are dead."""
    running = list(processes(machine.proc))
    places = sorted({place.resolve() for place in machine.temps})
    dead = [p for place in places for p in sorted(place.glob("swp-*")) if is_dead(p, running)]
    if not dead:
        yield Finding("leftovers", "ok", "none")
        return
    size = sum(size_of(path) for path in dead)
    names = ", ".join(map(str, dead[:3])) + (", …" if len(dead) > 3 else "")
    says = f"{len(dead)} of dead sweeps, {size / GIB:.2f} GiB: {names}"
    if not machine.fix:
        yield Finding("leftovers", "warn", says, "sweeper doctor --fix removes them")
        return
    for path in dead:
        shutil.rmtree(path)
    yield Finding("leftovers", "ok", f"removed {says}")


def is_dead(folder: Path, running: Sequence[Process]) -> bool:
    """Whether a session folder is ours, and no process has to do with it."""
    about = folder.lstat()
    mine = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    if not mine or time.time() - about.st_mtime < FRESH:
        return False
    inside = re.compile(rf"{re.escape(str(folder))}(/|$)")
    return not any(inside.search(word) for process in running for word in process.words)


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def holders(machine: Machine) -> Iterator[Finding]:
    """Results folders that a dead driver still holds."""
    running = 0
    for lock in sorted(machine.out.glob("*/ledger.lock")):
        if (who := holder(lock.parent)) is None:
            continue
        running += 1
        driver = re.fullmatch(r"process (\d+) on (.+)", who)
        if driver is None or driver[2] != socket.gethostname() or alive(int(driver[1])):
            continue
        yield Finding(
            "held folder",
            "fail",
            f"{lock.parent} is held by {who}, which is dead",
            (f"end what it left behind: fuser -v {lock}"),
        )
        running -= 1
    yield Finding("sweeps", "ok", f"{running} running in {machine.out}" if running else "none runs")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def tracking(machine: Machine) -> Iterator[Finding]:
    """Whether MLflow takes records."""
    uri = machine.tracking or f"sqlite:///{machine.out.resolve() / 'mlflow.db'}"
    shown = hide(uri)
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(health(uri), timeout=PATIENCE):
                yield Finding("MLflow", "ok", f"answers at {shown}")
        except (OSError, ValueError) as error:
            says = hide(f"does not answer at {shown}: {getattr(error, 'reason', error)}")
            yield Finding("MLflow", "warn", says, "a sweep runs without, and tells it later")
        return
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:///") and path.is_file():
        try:
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
                file.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            yield Finding("MLflow", "fail", f"{path} is not sound: {error}", "move it away")
            return
    yield Finding("MLflow", "ok", f"in {shown}")


def health(uri: str) -> urllib.request.Request:
    """The question whether an MLflow server is well; a name and a password of the address are sent
    as such."""
    parts = urllib.parse.urlsplit(uri.rstrip("/"))
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl() + "/health")
    if user:
        coded = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_header("Authorization", f"Basic {coded}")
    return request


def storage(machine: Machine) -> Iterator[Finding]:
    """Whether the storage can be written, read and cleared."""
    uri = machine.storage or machine.environ.get("SWEEPER_STORAGE")
    if not uri:
        yield Finding("storage", "ok", "none")
        return
    name = f".doctor-{uuid.uuid4().hex}"
    try:
        place = Storage(uri)
        place.write(name, b"here")
        same = place.read(name) == b"here"
        place.remove([name])
    except StorageError as error:
        yield Finding("storage", "fail", hide(str(error)), "see --storage and its credentials")
        return
    said = "can be written and read" if same else "gives back what was not written"
    yield Finding("storage", "ok" if same else "fail", f"{hide(uri)} {said}")


def address(machine: Machine) -> Iterator[Finding]:
    """Where a sweep would run."""
    try:
        place = rule(machine.address, Here(environ=machine.environ))
    except ClusterError as error:
        yield Finding("runs on", "fail", str(error).partition("\n")[0], "see --address")
        return
    where = {"local": "a Ray of its own", "join": f"the Ray at {place.address}"}
    said = where.get(place.kind, f"the cluster at {place.address or place.by}")
    yield Finding("runs on", "ok", f"{said} ({place.by})")


CHECKS: Sequence[Check] = (
    versions,
    devices,
    room,
    token,
    doors,
    leftovers,
    holders,
    tracking,
    storage,
    address,
)
