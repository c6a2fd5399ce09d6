#!/usr/bin/env python
"""What Ray Tune, Optuna and MLflow, as their docs put them together, do when something breaks.

    benchmarks/faults.py

sweeps a toy (8 trials of at most 10 steps of 0.2 s, two at a time) once or twice for each fault,
breaks one thing on the way, and afterwards counts in what is left: the steps that workers noted,
Tune's folder, Optuna's study, MLflow's database. Sweeper is not run: what it does under such faults
is what its tests assert. Nothing of the stock stack is tuned, and nothing guarded:

- A function trainable saves a checkpoint with each report and begins at the one that Tune hands it,
  as Tune's guide to checkpoints has it; `max_failures=3`, ASHA as in the guide to schedulers.
- OptunaSearch keeps its study in sqlite, or, as by default, in memory; MLflowLoggerCallback writes
  to sqlite or to a real `mlflow server`. Environment variables of Tune and MLflow are not set.
- After the driver ended too soon, `Tuner.restore(…, resume_errored=True)` goes on, as in Tune's
  guide to fault tolerance.

What was observed is printed, and kept as JSON lines and Markdown in `results/bench/faults`, or
wherever `--out` says; a run that was cut goes on. It takes an hour, most of it waiting, and root,
for the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sessions import end, session

HERE = Path(__file__).parent
OUT = HERE.parent / "results" / "bench" / "faults"
TRIALS, STEPS, SLOTS, SECONDS = 8, 10, 2, 0.2
AT = 5
"""The step at which a fault of a trial shows, in the first trial that comes to it."""
MIDWAY = (14, 20, 8)
"""Steps that all trials together have trained when a fault comes from outside, by run."""
BOUND, LONGEST = 300.0, 1800.0
"""Seconds that are waited for the end of a driver after such a fault, and altogether."""
ROOM = 4 << 20
WEIGHTS = 200_000
"""Bytes of a file system that is too small, and of a checkpoint."""

LONG = 120
"""Seconds without a step that are told of; a trial's start takes some, more on a busy machine."""

COLUMNS = {
    "exit code": "code",
    "seconds": "seconds",
    "… after the fault": "after",
    "longest without a step": "still",
    "trials": "trials",
    "finished": "finished",
    "failed": "failed",
    "cut off": "cut",
    "steps": "steps",
    "trained twice": "again",
    "Optuna's trials": "optuna",
    "MLflow's runs": "mlflow",
    "second runs": "runs_again",
}
LEGEND = """\
A row is a process of the script; the second of a run is `Tuner.restore`. A trial counts once it has
trained a step. It has finished if the last line of its `result.json` says that it is done, has
failed if it has not and has an `error.txt`, and was cut off else. What comes from outside comes
once all trials together have trained 14, 20 or 8 steps (run 1, 2, 3). An exit code of `None` is one
that was not waited for any longer.
"""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """Something that breaks: what, how often it is tried, and whether `Tuner.restore` follows."""

    what: str
    runs: int = 2
    restored: bool = False
    study: str = "sqlite"


FAULTS = {
    "nothing": Fault("nothing", runs=1),
    "driver": Fault("SIGKILL of the driver", runs=3, restored=True),
    "driver, study in memory": Fault(
        "the same, with Optuna's study in memory", runs=3, restored=True, study="memory"
    ),
    "ctrl_c": Fault("Ctrl-C", restored=True),
    "worker": Fault(f"SIGKILL of a worker before its trial's step {AT + 1}"),
    "torn": Fault("the same, and its newest checkpoint is cut in half"),
    "nan": Fault(f"a trial's metric is NaN from its step {AT} on"),
    "none": Fault(f"a trial reports None as its metric at its step {AT}"),
    "missing": Fault(f"a trial's report at its step {AT} lacks the metric"),
    "full": Fault(
        f"Tune's folder is on a disk of {ROOM >> 20} MiB, of ten times as much for `Tuner.restore`",
        runs=1,
        restored=True,
    ),
    "mlflow": Fault("SIGKILL of the MLflow server", runs=1),
}


# The stock script, which runs in a process of its own. What is imported takes seconds.


def toy(config: dict[str, Any], fault: str, folder: str) -> None:
    """A trial, as a function trainable."""
    from ray import tune

    trial = tune.get_context().get_trial_id()
    first, checkpoint = 1, tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as there:
            first = 1 + json.loads(Path(there, "state.json").read_text())["step"]
    for step in range(first, STEPS + 1):
        if fault in ("worker", "torn") and step == AT + 1 and chosen(folder, trial, once=True):
            if fault == "torn":
                newest = max(Path(folder, "tune").glob(f"*/*{trial}*/checkpoint_*"))
                os.truncate(newest / "state.json", WEIGHTS // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(SECONDS)
        note(folder, trial, step)
        score = 20 * abs(math.log10(config["lr"]) + 3) + 100 * math.exp(-0.35 * step)
        metrics: dict[str, Any] = {"score": score}
        if step >= AT and fault in ("nan", "none", "missing") and chosen(folder, trial):
            metrics = {"nan": {"score": math.nan}, "none": {"score": None}, "missing": {}}[fault]
            metrics["steps"] = step
        with TemporaryDirectory() as there:
            state = {"step": step, "weights": "0" * WEIGHTS}
            Path(there, "state.json").write_text(json.dumps(state))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(there))


def chosen(folder: str, trial: str, *, once: bool = False) -> bool:
    """Whether this is the first trial that asked; with ``once``, only at the first time."""
    file = Path(folder, "chosen")
    try:
        with file.open("x") as new:
            new.write(trial)
        return True
    except FileExistsError:
        return not once and file.read_text() == trial


def note(folder: str, trial: str, step: int) -> None:
    with Path(folder, "steps.jsonl").open("a") as file:
        file.write(json.dumps([time.time(), trial, step]) + "\n")


def sweep(
    fault: str, folder: str, study: str, tracking: str, address: str, *, restore: bool
) -> None:
    """The script, from its first line to its last."""
    import optuna
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(address=address)
    trainable = tune.with_parameters(toy, fault=fault, folder=folder)
    if restore:
        tuner = tune.Tuner.restore(f"{folder}/tune/stock", trainable, resume_errored=True)
    else:
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db")
        tuner = tune.Tuner(
            trainable,
            param_space={"lr": tune.loguniform(1e-5, 1e-1)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="min",
                search_alg=OptunaSearch(storage=storage if study == "sqlite" else None),
                scheduler=ASHAScheduler(max_t=STEPS, grace_period=1, reduction_factor=3),
                num_samples=TRIALS,
            ),
            run_config=tune.RunConfig(
                name="stock",
                storage_path=f"{folder}/tune",
                failure_config=tune.FailureConfig(max_failures=3),
                callbacks=[MLflowLoggerCallback(tracking_uri=tracking, experiment_name="stock")],
            ),
        )
    results = tuner.fit()
    best = results.get_best_result()
    print(f"{len(results)} trials, {results.num_errors} errors; best: {best.metrics['score']}")


# What breaks it from outside, and looks at what is left.

Strike = Callable[[subprocess.Popen[bytes]], object]

STRIKES: dict[str, Strike] = {
    "driver": subprocess.Popen.kill,
    "driver, study in memory": subprocess.Popen.kill,
    # As a terminal does, which tells the whole group of processes.
    "ctrl_c": lambda driver: os.killpg(driver.pid, signal.SIGINT),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="default: all")
    parser.add_argument("--list", action="store_true", help="name the faults")
    parser.add_argument("--out", type=Path, default=OUT, help="where what was observed is kept")
    parser.add_argument("--script", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.script:
        sweep(**asked.script)
        return
    if asked.list:
        for name, fault in FAULTS.items():
            print(f"{name}\t{fault.what}")
        return
    if unknown := set(asked.faults) - set(FAULTS):
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    for name in asked.faults or FAULTS:
        for run in range(1, FAULTS[name].runs + 1):
            kept = read(asked.out)
            if not any((row["fault"], row["run"]) == (name, run) for row in kept):
                load = round(os.getloadavg()[0], 1)
                row = {"fault": name, "run": run, "with": versions(), "load": load}
                row["stages"] = observed(name, MIDWAY[run - 1])
                store([*kept, row], asked.out)
                print(f"{name}, {run}: {told([row])}", flush=True)
    print(f"\n{page(read(asked.out))}")


def versions() -> str:
    named = ", ".join(f"{name} {metadata.version(name)}" for name in ("ray", "optuna", "mlflow"))
    return f"{named}, python {platform.python_version()}, {os.cpu_count()} cores"


def observed(name: str, at: int) -> list[Facts]:
    """Run a sweep that one thing happens to, and what follows it. What comes from outside comes
    once ``at`` steps were trained. Returns what each leaves."""
    fault = FAULTS[name]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with TemporaryDirectory(prefix="swf-") as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        (folder / "tune").mkdir()
        cluster = stack.enter_context(ray_of_its_own(folder))
        tracking, strike = f"sqlite:///{folder / 'mlflow.db'}", STRIKES.get(name)
        if name == "mlflow":
            tracking, strike = stack.enter_context(served(folder, cluster.environment))
        if name == "full":
            stack.enter_context(small(folder / "tune"))
        order = {"fault": name, "folder": temporary, "study": fault.study, "tracking": tracking}
        order["address"] = cluster.address
        stages = [staged(cluster, folder, order | {"restore": False}, strike, at)]
        if name == "full":
            mount(folder / "tune", "-o", f"remount,size={10 * ROOM}")
        if fault.restored:
            stages.append(staged(cluster, folder, order | {"restore": True}))
        return stages


class Cluster(NamedTuple):
    """A local Ray: its address, the environment of who may join it, and its first process."""

    address: str
    environment: dict[str, str]
    leader: subprocess.Popen[bytes]


@contextlib.contextmanager
def ray_of_its_own(folder: Path) -> Iterator[Cluster]:
    """A Ray on loopback, which others of this machine do not notice. Its ports are chosen here,
    since it waits seconds for those that its parts choose, which on a busy machine is too short."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "MLFLOW_"))}
    environment = plain | {
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
        # Nobody is told of it.
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "true",
        # Nobody else is let in, and no token is written into the user's home.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    ports = dict(zip(PORTS, free(len(PORTS)), strict=True))
    words = ["start", "--head", "--block", f"--num-cpus={SLOTS}", f"--temp-dir={folder / 'ray'}"]
    words += ["--include-dashboard=false", "--include-log-monitor=false"]
    words += ["--node-ip-address=127.0.0.1", *(f"--{name}={port}" for name, port in ports.items())]
    leader = begun("ray", words, folder, environment)
    try:
        wait(lambda: "Ray runtime started" in (folder / "ray.log").read_text(), leader)
        yield Cluster(f"127.0.0.1:{ports['port']}", environment, leader)
    finally:
        leader.terminate()
        end(leader)


PORTS = (
    "port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)


def free(n: int) -> list[int]:
    """Ports on loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [probe.getsockname()[1] for probe in probes]


def begun(
    script: str, words: Sequence[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """A script of this Python's, in a session of its own, which prints into a file."""
    with (folder / f"{script}.log").open("wb") as output:
        return subprocess.Popen(
            [Path(sys.executable).with_name(script), *words],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait(until: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for something to come up. Raises RuntimeError if it does not."""
    deadline = time.monotonic() + BOUND
    while not until():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} does not come up")
        time.sleep(0.2)


def staged(
    cluster: Cluster, folder: Path, order: Facts, strike: Strike | None = None, at: int = 0
) -> Facts:
    """Run the stock script in a process of its own, and wait for the end of its workers. Returns
    what it has left."""
    log, struck, begun = folder / "log", None, time.time()
    with log.open("wb") as output:
        driver = subprocess.Popen(
            [
                sys.executable,
                __file__,
                "--script",
                json.dumps(order | {"address": cluster.address}),
            ],
            cwd=folder,
            env=cluster.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while driver.poll() is None:
            if time.time() > (struck + BOUND if struck else begun + LONGEST):
                break
            if strike and not struck and len(steps(folder)) >= at:
                struck = time.time()
                strike(driver)
            time.sleep(0.05)
        code, ended = driver.poll(), time.time()
    finally:
        end(driver, 0.0)
        deadline = time.monotonic() + BOUND
        while workers(cluster.leader.pid) and time.monotonic() < deadline:
            time.sleep(0.2)
    times = [at for at, _, _ in steps(folder) if begun <= at <= ended]
    return {
        "code": code,
        "seconds": round(ended - begun),
        "after": round(ended - struck, 1) if struck else None,
        "still": round(max((b - a for a, b in pairwise([*times, ended])), default=0.0)),
        **said(log.read_text(errors="replace")),
        **left(folder),
    }


def workers(leader: int) -> list[int]:
    """The processes of a Ray's session in which a trial lives."""
    found = []
    for pid in session(leader):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ImplicitFunc"):
                found.append(pid)
    return found


@contextlib.contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, Strike]]:
    """A real MLflow server on loopback: its address, and what kills it."""
    (port,), database = free(1), f"sqlite:///{folder / 'mlflow.db'}"
    words = ["--host=127.0.0.1", f"--port={port}", f"--backend-store-uri={database}", "--workers=1"]
    server = begun("mlflow", ["server", *words], folder, environment)
    uri = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: answers(uri), server)
        yield uri, lambda driver: os.killpg(server.pid, signal.SIGKILL)
    finally:
        server.kill()
        end(server, 0.0)


def answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def small(folder: Path) -> Iterator[None]:
    """A disk of little room. Raises CalledProcessError where none can be mounted."""
    mount(folder, "-t", "tmpfs", "-o", f"size={ROOM}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def mount(folder: Path, *words: str) -> None:
    subprocess.run(["mount", *words, "tmpfs", folder], check=True)


def steps(folder: Path) -> list[tuple[float, str, int]]:
    """What workers have trained: when, of which trial, which step."""
    file = folder / "steps.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def left(folder: Path) -> Facts:
    """What a sweep has left behind, in numbers."""
    trained = steps(folder)
    ends = [ended(folder, trial) for trial in {trial for _, trial, _ in trained}]
    tracked = folder / "mlflow.db"
    again = "SELECT COUNT(*) - COUNT(DISTINCT value) FROM tags WHERE key = 'trial_name'"
    return {
        "trials": len(ends),
        **{how: ends.count(how) for how in ("finished", "failed", "cut")},
        "steps": len(trained),
        "again": len(trained) - len({(trial, step) for _, trial, step in trained}),
        "optuna": dict(asked(folder / "study.db", "SELECT state, COUNT(*) FROM trials GROUP BY 1")),
        "mlflow": dict(asked(tracked, "SELECT status, COUNT(*) FROM runs GROUP BY 1")),
        "runs_again": sum(n for (n,) in asked(tracked, again)),
    }


def ended(folder: Path, trial: str) -> str:
    """How a trial ended, by its files in Tune's folder or the driver's own: its last result says
    that it is done."""
    for file in folder.glob(f"**/toy_{trial}_*/result.json"):
        with contextlib.suppress(json.JSONDecodeError, IndexError):  # a disk that was full tears it
            if json.loads(file.read_text().splitlines()[-1]).get("done"):
                return "finished"
    return "failed" if any(folder.glob(f"**/toy_{trial}_*/error.txt")) else "cut"


def asked(database: Path, query: str) -> list[Any]:
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def said(text: str) -> Facts:
    """What a driver raised last, if it did, and whether it said how to go on."""
    raised = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception|Interrupt))(?=:|$)", text, re.MULTILINE)
    return {"raised": raised[-1] if raised else None, "resumable": "Tuner.restore(" in text}


# What is kept of it, and told.


def read(folder: Path) -> list[Facts]:
    """What is kept in a folder, a row a run."""
    file = folder / "observed.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def store(rows: Sequence[Facts], folder: Path) -> None:
    """Keep rows as JSON lines and as Markdown, in the order of the faults."""
    folder.mkdir(parents=True, exist_ok=True)
    order = list(FAULTS)
    rows = sorted(rows, key=lambda row: (order.index(row["fault"]), row["run"]))
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    for name, text in {"observed.jsonl": lines, "README.md": page(rows)}.items():
        draft = folder / f"{name}.tmp"
        draft.write_text(text)
        draft.replace(folder / name)


def page(rows: Sequence[Facts]) -> str:
    """All rows in Markdown: what was observed in words, and the numbers of each run."""
    about = dict.fromkeys(row["with"] for row in rows)
    loads = [row["load"] for row in rows]
    lines = [
        "# What the stock stack did when something broke",
        "",
        f"`benchmarks/faults.py`, {'; '.join(about)}; a load of {min(loads):g} to {max(loads):g}.",
        "",
        "| fault | observed |",
        "|---|---|",
    ]
    for name, fault in FAULTS.items():
        if of := [row for row in rows if row["fault"] == name]:
            lines.append(f"| {fault.what} | {told(of)} |")
    lines += ["", f"| fault | run | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for row in rows:
        for stage in row["stages"]:
            cells = [str(stage[key]) for key in COLUMNS.values()]
            lines.append(f"| {row['fault']} | {row['run']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", LEGEND])


def told(rows: Sequence[Facts]) -> str:
    """What was observed of one fault, over its runs, in words."""
    parts = []
    for number, stages in enumerate(zip(*(row["stages"] for row in rows), strict=True)):
        if number or any(stage["code"] != -signal.SIGKILL for stage in stages):
            begin = "`Tuner.restore`: " if number else ""
            parts.append(f"{begin}{', '.join(phrases(stages))}")
    return "; ".join(parts)


def phrases(stages: Sequence[Facts]) -> Iterator[str]:
    """What is left of the same stage of each run."""

    def of(key: str) -> list[Any]:
        return [stage[key] for stage in stages]

    raised = dict.fromkeys(f"`{stage['raised']}`" for stage in stages if stage["code"])
    names = f" ({', '.join(raised)})" if raised else ""
    if None in of("code"):
        yield f"does not end within {BOUND:.0f} s"
    else:
        yield f"exit code {each(of('code'))}{names}"
        if all(of("after")):
            yield f"{span([round(seconds) for seconds in of('after')])} s later"
    yield f"{span(of('finished'))} of {TRIALS} trials finished"
    missing = [max(TRIALS - n, 0) for n in of("trials")]
    more = [max(n - TRIALS, 0) for n in of("trials")]
    running = {name: [s[name].get("RUNNING", 0) for s in stages] for name in ("optuna", "mlflow")}
    for numbers, what in (
        (of("failed"), "failed"),
        (of("cut"), "cut off"),
        (missing, "never begun"),
        (more, "begun in place of others"),
        (of("again"), "steps trained twice"),
        (running["optuna"], "left RUNNING in Optuna"),
        (running["mlflow"], "left RUNNING in MLflow"),
        (of("runs_again"), "with a second run in MLflow"),
    ):
        if any(numbers):
            yield f"{span(numbers)} {what}"
    if max(of("still")) >= LONG:
        yield f"nothing trained for {span(of('still'))} s"


def span(numbers: Sequence[int]) -> str:
    """From the least to the most of the runs."""
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))


def each(numbers: Sequence[object]) -> str:
    """What the runs have in common, or that of each."""
    *others, last = map(str, numbers if len(set(numbers)) > 1 else numbers[:1])
    return f"{', '.join(others)} and {last}" if others else last


if __name__ == "__main__":
    main()
