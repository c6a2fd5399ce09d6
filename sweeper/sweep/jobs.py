"""Sending a sweep to a cluster: as a job of Ray on its head, followed from here, its results
fetched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sweeper.ledger.redact import credentials, hide
from sweeper.space.source import InputError
from sweeper.space.space import written_in
from sweeper.space.use import bring
from sweeper.sweep.plan import Settings, new_name, space_of
from sweeper.sweep.where import (
    DASHBOARD,
    LAUNCHER,
    ClusterError,
    Dashboard,
    Reached,
    Say,
    lent,
)

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient
    from typer import Context

RESULTS = '"$HOME/results"'
"""Where results are on a head, as its shell reads it."""
TAKEN = 75
"""What a job ends with when the head has results of that name."""
GRACE = 30
"""Seconds that a stopped job has to end by itself."""
GONE = 60.0
"""Seconds after which a cluster that does not answer is not waited for."""
LOOK = 2.0
RETRY = 0.5
ASKED = 10.0
TRIES = 30
NAMES = 100
"""How many names are tried on a head."""
PLACES = {
    "--from": "a path from /",
    "--storage": "a path from / or s3://BUCKET/FOLDER",
    "--tracking-uri": "a server's, or a path from / as in sqlite:////mnt/shared/mlflow.db",
}
"""What options that name a place are to be on a cluster."""
CREDENTIALS = (
    "where the head's Ray is started, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "or AWS's own variables"
)


@dataclass(frozen=True)
class Order:
    """What is to be run on a cluster.

    ``words`` are the command, ``files`` what it reads that the head lacks, by where they are put in
    the folder that it is run in. ``name`` is that of its results.
    """

    words: Sequence[str]
    files: Mapping[str, Path]
    name: str
    fresh: bool
    """Whether its results are to be in a new folder."""
    storage: str | None = None

    def entrypoint(self) -> str:
        """The command as the head's shell reads it."""
        folder = f"{RESULTS}/{shlex.quote(self.name)}"
        if not self.fresh:
            return f"exec sweeper {shlex.join(self.words)} {folder} --address auto"
        guard = f"test ! -e {folder} || exit {TAKEN}"
        into = f"--name {shlex.quote(self.name)} --out {RESULTS} --address auto"
        return f"{guard}; exec sweeper {shlex.join(self.words)} {into}"

    def stopping(self) -> str:
        """What asks the sweep to stop, again and again while it has no driver yet: it may still be
        packing its data."""
        stop = f"sweeper stop {RESULTS}/{shlex.quote(self.name)}"
        return f"for try in $(seq {TRIES}); do {stop} && exit; sleep 2; done; exit 1"


HERE = frozenset({"address", "inline", "name", "out", "use"})
"""Options that mean something on this machine, or are put differently on a head."""


def typed(context: Context) -> list[str]:
    """The options of a command that were typed, but for those of this machine."""
    words = []
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        source = context.get_parameter_source(name)
        if parameter.param_type_name != "option" or name in HERE or source is None:
            continue
        if source.name == "COMMANDLINE":
            option = max(parameter.opts, key=len)
            each = value if isinstance(value, list | tuple) else [value]
            words += [option if one is True else f"{option}={one}" for one in each]
    return words


def run_order(context: Context) -> Order:
    """What ``sweeper run`` is on a cluster. Raises InputError for what would be refused there."""
    given = context.params
    overrides, use = tuple(given["overrides"] or ()), tuple(given["use"] or ())
    settings = Settings(given["space"], given["data"], overrides, name=given["name"], use=use)
    check_data(settings.data)
    words = checked(typed(context))
    # Where the data is a path, it is one on the cluster; the space is checked upon other data.
    path = settings.data is not None and Path(settings.data).is_absolute()
    here = replace(settings, data=None) if path else settings
    bring(use)
    space, _ = space_of(here)
    wanted = settings.name or space.name
    new_name(given["out"], wanted)  # refuses what is no name
    files = placed([*written_in(settings.space), *use])
    names = {path: name for name, path in files.items()}
    used = [f"--use={names[path.resolve()]}" for path in use]
    command = ["run", names[settings.space.resolve()], *words, *used]
    return Order(command, files, wanted, True, given["storage"])


def resume_order(context: Context) -> Order:
    """What ``sweeper resume`` or ``ablate`` is on a cluster: of the results of that name on its
    head. Raises InputError for what would be refused there."""
    files = placed(context.params["use"] or ())
    return Order(
        [str(context.info_name), *checked(typed(context)), *(f"--use={name}" for name in files)],
        files,
        context.params["folder"].resolve().name,
        False,
        context.params["storage"],
    )


def here() -> Order:
    """Refuse to go on from results that are here, where the cluster does not look. Raises
    InputError."""
    law = "what a sweep on a cluster found lies on its head, and is continued there"
    raise InputError([f"{law}; --address local continues here"])


def check_data(data: str | None) -> None:
    """Refuse data that is here, where the cluster does not look. Raises InputError."""
    if data is not None and not Path(data).is_absolute() and Path(data).expanduser().exists():
        law = "a sweep on a cluster reads data that is there, so --data is a name or a path from /"
        raise InputError([f"{law}, but {data} is here; --address local sweeps here"])


def checked(words: list[str]) -> list[str]:
    """The options as they were typed. Raises InputError where one holds a password, since whoever
    sees a cluster's jobs reads them, or is a path from here, since that is another one there."""
    for word in words:
        option, _, place = word.partition("=")
        if option in PLACES and credentials(place):
            law = f"who sees a cluster's jobs reads their words, so {option} has no password"
            raise InputError([f"{law}, but got {hide(place)}; {CREDENTIALS}"])
        if option in PLACES and not same_there(place):
            law = f"a sweep on a cluster reads its paths there, so {option} is {PLACES[option]}"
            raise InputError([f"{law}, but got {place}; --address local sweeps here"])
    return words


def same_there(place: str) -> bool:
    """Whether an address means on a cluster what it means here: a server's, or a path from /."""
    parts = urlsplit(place)
    if parts.scheme == "sqlite":
        return parts.path.startswith("//")
    return parts.path.startswith("/") if parts.scheme in ("", "file") else True


def placed(files: Sequence[Path]) -> dict[str, Path]:
    """Where files are put in one folder, so that they find each other by relative paths there."""
    whole = [path.resolve() for path in files]
    if not whole:
        return {}
    above = os.path.commonpath([path.parent for path in whole])
    return {os.path.relpath(path, above): path for path in whole}


@contextlib.contextmanager
def bundled(files: Mapping[str, Path]) -> Iterator[Path]:
    """A folder with nothing but these files."""
    with tempfile.TemporaryDirectory(prefix="sweeper-") as folder:
        for name, path in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        yield Path(folder)


def names(wanted: str, taken: Collection[str]) -> Iterator[str]:
    """The name, name-2, name-3, … but for those that are taken."""
    numbered = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, NAMES))
    return (name for name in numbered if name not in taken)


class Screen:
    """Shows the log of a job as its command wrote it. Of JSON lines, nothing else comes to standard
    output."""

    def __init__(self, *, json_lines: bool) -> None:
        self.json_lines, self.begun, self.rest = json_lines, False, ""

    def write(self, text: str) -> None:
        lines = (self.rest + text).split("\n")
        self.rest = lines.pop()
        for line in lines:
            self._line(line)
        sys.stdout.flush()

    def close(self) -> None:
        """Show a last line that nobody ended."""
        if self.rest:
            self.write("\n")

    def _line(self, line: str) -> None:
        if self.begun:
            aside = self.json_lines and not line.startswith("{")
            print(line, file=sys.stderr if aside else sys.stdout)
        # What stands before is Ray's own, about the environment of the job.
        self.begun = self.begun or line.startswith("Running entrypoint for job ")


@dataclass
class Job:
    """A command on a cluster, followed from here. Not to be followed any more never ends it."""

    dashboard: Dashboard
    client: JobSubmissionClient
    order: Order
    say: Say
    screen: Screen
    again: str
    """Where the dashboard is found when this command and its forwarding have ended."""
    id: str = field(init=False)
    shown: int = 0
    interrupts: int = 0
    left: int = 0

    def __post_init__(self) -> None:
        self.id = f"sweeper-{self.order.name}-{secrets.token_hex(3)}"

    async def follow(self) -> int:
        """Submit it, show its log as it grows, and say what it ended with. Raises ClusterError when
        it cannot be submitted, does not begin, or is lost sight of."""
        loop, self.heard = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave, number)
        if not await asyncio.to_thread(self._submit):
            self.say("nothing was sent")
            return 128 + self.left
        info = await self._ended()
        self.screen.close()
        if info is None:
            self.say(f"not followed any more; {self._on()}")
            return 128 + self.left
        return self._code(info)

    def _submit(self) -> bool:
        """Whether it was submitted before we left."""
        deadline = time.monotonic() + GONE
        with bundled(self.order.files) as folder:
            while not self.left:
                try:
                    self.client.submit_job(
                        entrypoint=self.order.entrypoint(),
                        submission_id=self.id,
                        runtime_env={
                            "working_dir": str(folder),
                            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(GRACE)},
                        },
                        metadata={"sweeper": self.order.name},
                    )
                except (RuntimeError, OSError) as error:
                    # The parts of a head that was only just brought up come one after another.
                    if "No available agent" in str(error) and time.monotonic() < deadline:
                        time.sleep(1)
                        continue
                    law = f"{self.dashboard.url} takes jobs, but not this one"
                    raise ClusterError(f"{law}: {first_line(error)}") from None
                return True
        return False

    async def _ended(self) -> dict[str, Any] | None:
        """What the cluster knows of it when it has ended; None if we left before."""
        tail, heard = asyncio.create_task(self._tail()), asyncio.create_task(self.heard.wait())
        loop = asyncio.get_running_loop()
        seen = loop.time()
        try:
            while not self.left:
                await asyncio.wait({tail, heard}, timeout=LOOK, return_when="FIRST_COMPLETED")
                info = await asyncio.to_thread(self._info)
                if info is None and loop.time() - seen > GONE:
                    law = f"{self.dashboard.url} has not answered for {GONE:.0f} s"
                    raise ClusterError(f"{law}; {self._on()}")
                if info is not None:
                    seen = loop.time()
                    if info["status"] in ("SUCCEEDED", "FAILED", "STOPPED"):
                        await asyncio.wait({tail}, timeout=ASKED)
                        tail.cancel()
                        await asyncio.to_thread(self._rest, info)
                        return info
                if tail.done() and not self.left:  # the line broke, or nothing is logged yet
                    await asyncio.sleep(LOOK)
                    tail = asyncio.create_task(self._tail())
            return None
        finally:
            tail.cancel()
            heard.cancel()

    async def _tail(self) -> None:
        """Show what it logs, from where we are; ends with the job, or when the line breaks."""
        import aiohttp

        skip = self.shown
        with contextlib.suppress(RuntimeError, OSError, aiohttp.ClientError):
            async for text in self.client.tail_job_logs(self.id):
                fresh, skip = text[skip:], max(0, skip - len(text))
                self.shown += len(fresh)
                self.screen.write(fresh)

    def _rest(self, info: Mapping[str, Any]) -> None:
        """Show what was logged last, where the line broke before it came. The parts of a busy head
        answer late, so one whose command did run is asked until it has a log."""
        deadline = time.monotonic() + ASKED
        while True:
            with contextlib.suppress(RuntimeError, OSError):
                text = self.client.get_job_logs(self.id)
                fresh, self.shown = text[self.shown :], max(self.shown, len(text))
                self.screen.write(fresh)
                if text or info.get("driver_exit_code") is None:
                    return
            if time.monotonic() > deadline:
                follow = f"ray job logs --address {self.again} {self.id}"
                self.say(f"the end of its log did not come; to see it:\n  {follow}")
                return
            time.sleep(RETRY)

    def _info(self) -> dict[str, Any] | None:
        try:
            found = self.dashboard.ask(f"/api/jobs/{self.id}", timeout=ASKED)
        except ClusterError:
            return None
        return dict(found)

    def _code(self, info: Mapping[str, Any]) -> int:
        if info["status"] == "STOPPED":
            return 128 + signal.SIGINT
        code = info.get("driver_exit_code")
        if code is None:
            law = "the cluster could not start the sweep"
            raise ClusterError(f"{law}: {first_line(info.get('message'))}")
        return 128 - code if code < 0 else int(code)

    def _interrupted(self) -> None:
        """Ctrl-C: the sweep is asked to stop, then its job is stopped, then we go."""
        self.interrupts += 1
        match self.interrupts:
            case 1:
                self.say("asking the sweep to stop; Ctrl-C again stops its job")
                self._send("/api/jobs/", {"entrypoint": self.order.stopping()})
            case 2:
                self.say(f"stopping its job, which has {GRACE} s to end by itself")
                self._send(f"/api/jobs/{self.id}/stop", {})
            case _:
                self._leave(signal.SIGINT)

    def _send(self, path: str, body: dict[str, Any]) -> None:
        """Have the cluster do something, without waiting for it here."""

        def send() -> None:
            try:
                self.dashboard.ask(path, body, timeout=ASKED)
            except ClusterError as error:
                self.say(str(error))

        asyncio.get_running_loop().run_in_executor(None, send)

    def _leave(self, number: int) -> None:
        self.left = number
        self.heard.set()

    def _on(self) -> str:
        """That it goes on, and how it is followed again."""
        follow = f"ray job logs --follow --address {self.again} {self.id}"
        first = "" if self.again == self.dashboard.url else f"  ray dashboard {LAUNCHER} &\n"
        return f"the sweep goes on there as job {self.id}; to follow it:\n{first}  {follow}"


def first_line(text: object) -> str:
    """The first line of what Ray says, which says the most."""
    return next(
        (line.strip() for line in str(text or "").splitlines() if line.strip()), "no reason"
    )


def send(found: Reached, order: Order, out: Path, say: Say, *, json_lines: bool) -> int:
    """Run a command on a cluster, under a name that is free there, and bring its results home.
    Returns its exit code. Raises ClusterError."""
    assert found.dashboard is not None
    say(f"running on {found.cluster}")
    client = client_of(found.dashboard)
    forwarded = found.place.by == LAUNCHER
    again = f"http://localhost:{DASHBOARD}" if forwarded else found.dashboard.url
    for name in names(order.name, taken(found.dashboard, out)) if order.fresh else [order.name]:
        screen = Screen(json_lines=json_lines)
        job = Job(found.dashboard, client, replace(order, name=name), say, screen, again)
        say(f"sweep {name}: job {job.id} on its head")
        code = asyncio.run(job.follow())
        if code != TAKEN or not order.fresh:
            if not job.left:
                home(found, order.storage, name, out, say)
                if code >= 128:
                    say(f"go on there with\n  sweeper resume {shlex.quote(str(out / name))}")
            return code
        say(f"the head has results of another {name}")
    raise ClusterError(f"a sweep has a name of its own, but the head has {NAMES} {order.name}")


def taken(dashboard: Dashboard, out: Path) -> set[str]:
    """The names of sweeps that are here, or were sent to this cluster before."""
    here = {path.name for path in out.glob("*")}
    sent = dashboard.ask("/api/jobs/", timeout=ASKED)
    return here | {(job.get("metadata") or {}).get("sweeper", "") for job in sent}


def client_of(dashboard: Dashboard) -> JobSubmissionClient:
    """Ray's client for jobs, which says nothing of its own. Raises ClusterError."""
    with lent(
        {"RAY_API_SERVER_ADDRESS": dashboard.url}
    ):  # else RAY_ADDRESS wins over what is named
        from ray.job_submission import JobSubmissionClient

        for part in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk"):
            logging.getLogger(f"ray.{part}").setLevel(logging.WARNING)
        logging.getLogger("ray._private.runtime_env.packaging").setLevel(logging.WARNING)
        try:
            return JobSubmissionClient(dashboard.url, headers=dashboard.headers)
        except (RuntimeError, OSError) as error:
            raise ClusterError(f"{dashboard.url} takes no jobs: {first_line(error)}") from None


def home(found: Reached, storage: str | None, name: str, out: Path, say: Say) -> None:
    """Bring the results of a sweep to here, from its bucket or from the head, or say where they
    are."""
    bucket = storage if storage and "://" in storage else None
    where = f"the results are in ~/results/{name} on the head"
    if bucket is None and found.place.launched is None:
        say(where)
        return
    from sweeper.ledger.ledger import LedgerError
    from sweeper.sweep.pull import pull
    from sweeper.sweep.storage import StorageError

    try:
        pull(name, bucket, out, say)
    except (ClusterError, InputError, LedgerError, StorageError) as error:
        say(f"{where}, and not here yet: {error}\nto bring them:\n  sweeper pull {name}")
