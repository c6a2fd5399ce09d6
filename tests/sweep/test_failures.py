"""What ends a trial is told apart, tried again as often as the space says, and ends no sweep."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.exceptions import ActorUnavailableError, NodeDiedError, RayActorError

from sweeper.ledger.ledger import Ledger
from sweeper.space.document import Limits, Retries
from sweeper.stream import Measurement
from sweeper.sweep import executor
from sweeper.sweep.executor import Fence, InlineExecutor, Job, Sweep, work
from sweeper.sweep.failures import ADVICE, cause_of, explained
from sweeper.sweep.plan import Plan
from sweeper.trial.parallel import RankFailedError, RankLostError
from tests.sweep.commands import Command, pids, records, run, until
from tests.sweep.plans import Simulated, curve, small


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small(tmp_path_factory.mktemp("out"), trials=4)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        yield opened


def tried(plan: Plan, **retries: int) -> Plan:
    return replace(plan, space=replace(plan.space, retries=Retries(**retries)))


def no_memory() -> None:
    torch.empty(1 << 60)


def no_room() -> None:
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise RuntimeError("the state could not be saved") from error


def broken(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "cause"),
    [
        (no_memory, "oom"),
        (broken(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")), "oom"),
        (broken(RuntimeError("CUDA error: out of memory")), "oom"),
        (broken(MemoryError()), "oom"),
        (no_room, "storage"),
        (broken(OSError(errno.EDQUOT, "Disk quota exceeded")), "storage"),
        (broken(OSError(errno.EIO, "Input/output error")), "storage"),
        (broken(FileNotFoundError(errno.ENOENT, "no such file")), "exception"),
        (broken(ValueError("the loss is out of line")), "exception"),
        (broken(RankFailedError("rank 1 failed: OutOfMemoryError: out of memory")), "oom"),
        (broken(RankLostError("rank 1 was killed by signal 9")), "worker"),
    ],
)
def test_an_error_has_a_cause(fail: Callable[[], None], cause: str) -> None:
    with pytest.raises(Exception) as caught:
        fail()
    assert cause_of(caught.value) == cause
    assert ADVICE[cause]


def test_rays_errors_tell_a_lost_node_from_a_lost_worker() -> None:
    from sweeper.sweep.adapters import took

    died = "The actor died unexpectedly before finishing this task.\n"
    node = died + "The actor died because its node has died. Node Id: 2322"
    assert took(RayActorError("00", died, preempted=True))[1] == "node"
    # Ray says the one or the other of a node that died, as of one that was cut off.
    for error in (RayActorError("00", node), ActorUnavailableError("rpc", None), NodeDiedError("")):
        assert took(error) == ("its node was lost", "node")
    assert took(RayActorError("00", died + "its worker process has died"))[1] == "worker"
    low = died + "Task was killed due to the node running low on memory."
    assert took(RayActorError("00", low))[1] == "oom"


@pytest.mark.parametrize(("cause", "times"), [("worker", 2), ("oom", 1), ("exception", 0)])
def test_a_trial_is_tried_again_as_often_as_the_space_says(
    plan: Plan, tmp_path: Path, cause: str, times: int
) -> None:
    """Even if each attempt is another driver's: the ledger is the only memory."""
    plan = tried(plan, worker=2, oom=1, exception=0)
    for attempt in range(1, times + 2):
        with Ledger(tmp_path) as ledger:
            sweep = Sweep(plan, ledger)
            job = sweep.next()
            assert job is not None
            assert (job.number, job.attempt) == (0, attempt)
            sweep.lost(job, "gone", cause)
            assert ledger[0].ended == (attempt == times + 1)
            assert ledger[0].cause == cause
    again = f" ({times + 1} times)" if times else ""
    with Ledger(tmp_path) as ledger:
        assert ledger[0].state == "failed"
        assert ledger[0].reason == f"gone{again}"
        assert ledger[0].events[-1].data["advice"] == ADVICE[cause]
        assert explained(ledger[0]) == f"{cause}: gone{again}; {ADVICE[cause]}"


def test_a_lost_node_is_no_fault_of_the_trial(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(tried(plan, worker=0), ledger)
    for _ in range(20):
        job = sweep.next()
        assert job is not None
        assert job.number == 0
        sweep.lost(job, "its node was lost", "node")
    assert not ledger[0].ended
    assert ledger[0].losses == {"node": 20}


def test_causes_are_counted_apart(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(tried(plan, worker=1, oom=1), ledger)
    for cause in ("worker", "oom", "node"):
        job = sweep.next()
        assert job is not None
        sweep.lost(job, "gone", cause)
    assert not ledger[0].ended


@pytest.mark.parametrize(
    ("base", "shares"), [(0.25, [0.25, 0.5, 1.0, 1.0]), (2.0, [2.0] * 4), (0.0, [0.0] * 4)]
)
def test_memory_that_runs_out_is_answered_with_a_larger_share(
    plan: Plan, ledger: Ledger, base: float, shares: list[float]
) -> None:
    sweep, seen = Sweep(tried(plan, oom=3), ledger, gpu=base), []
    while (job := sweep.next()) is not None and job.number == 0:
        seen.append(job.gpu)
        failed = {"kind": "failed", "cause": "oom", "reason": "no memory", "traceback": ""}
        assert not sweep.report(job, failed)
        sweep.finished(job)
    assert seen == shares
    assert ledger[0].state == "failed"
    assert ledger[0].cause == "oom"


def measured(plan: Plan, **other: Any) -> dict[str, Any]:
    sound = {"images": plan.every, "score": 5.0, "best": 5.0, "losses": {}, "seconds": 1.0}
    sound |= {"protocol": plan.protocol.hash}
    report = {"kind": "measured", **sound, "images_per_second": 1.0, **other}
    return {name: value for name, value in report.items() if value != "missing"}


@pytest.mark.parametrize("name", ["score", "best", "images", "losses", "seconds", "heldout"])
@pytest.mark.parametrize("value", ["missing", None, "five", True, math.nan, math.inf, -math.inf])
def test_no_report_can_end_the_sweep(
    plan: Plan, ledger: Ledger, name: str, value: Any, request: pytest.FixtureRequest
) -> None:
    if name == "heldout" and value in ("missing", None):
        return  # few measurements have it
    sweep = Sweep(plan, ledger)
    job = sweep.next()
    assert job is not None
    # As it comes from a worker on Ray.
    report = json.loads(json.dumps(measured(plan, **{name: value})))
    assert sweep.report(job, report) is False
    sweep.finished(job)
    infinite = isinstance(value, float) and name not in ("images", "losses")
    assert ledger[0].state == ("diverged" if infinite else "failed")
    assert ledger[0].cause == ("nan" if infinite else "exception")
    assert name in str(ledger[0].reason) or name == "images"
    assert ledger[0].measured == []
    Simulated().run(sweep)
    assert sweep.complete
    assert sum(r.state in ("completed", "stopped") for r in ledger.records) == 3


def test_what_is_no_report_fails_its_trial(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(plan, ledger)
    job = sweep.next()
    assert job is not None
    assert sweep.report(job, {"report": None}) is False
    assert ledger[0].cause == "exception"


def test_a_worker_that_was_given_up_cannot_end_its_trial(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(plan, ledger)
    old = sweep.next()
    assert old is not None
    sweep.lost(old, "cut off", "node")
    for _ in range(2):  # before its successor begins, and after
        for report in (
            {"kind": "diverged", "reason": "no"},
            {"kind": "failed", "cause": "oom", "reason": "no", "traceback": ""},
            measured(plan),
        ):
            assert sweep.report(old, report) is False
        sweep.lost(old, "cut off", "node")
        assert not ledger[0].ended
        assert ledger[0].losses == {"node": 1}
        sweep.next()


@pytest.mark.parametrize(
    ("error", "attempts", "cause"),
    [(MemoryError("no"), 2, "oom"), (ValueError("no"), 1, "exception")],
)
def test_a_trial_that_raises_in_a_real_sweep(
    plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: Exception, attempts: int,
    cause: str,
) -> None:  # fmt: skip
    fitted = replace(plan, out=ledger.path.parent, name="it")
    seeds: list[int] = []

    def train(trial: Any, *_: Any, **__: Any) -> Iterator[Measurement]:
        seeds.append(trial.seed)
        if trial.seed == seeds[0]:
            raise error
        yield from trained(trial, fitted)

    monkeypatch.setattr(executor, "train", train)
    sweep = Sweep(fitted, ledger)
    InlineExecutor().run(sweep)
    assert sweep.complete
    assert [r.state for r in ledger.records].count("failed") == 1
    assert (ledger[0].attempts, ledger[0].cause) == (attempts, cause)


def trained(trial: Any, plan: Plan) -> Iterator[Measurement]:
    """A trial that a formula trains, as a real one reports it."""
    job = Job(0, 1, trial.plain(), "", "", 1)
    for report in curve(job, plan, ""):
        yield Measurement.read({k: v for k, v in report.items() if k != "kind"})


def test_a_trial_that_hangs_is_ended_and_the_sweep_goes_on(
    plan: Plan, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(trial_minutes=0.5 / 60)
    fitted = replace(
        plan, out=ledger.path.parent, name="it", space=replace(plan.space, limits=limits)
    )
    seeds: list[int] = []

    def train(trial: Any, *_: Any, **__: Any) -> Iterator[Measurement]:
        seeds.append(trial.seed)
        yield next(trained(trial, fitted))
        if trial.seed == seeds[0]:
            try:
                time.sleep(600)
            except Exception:
                pytest.fail("the trial has swallowed what was to end it")
        yield from trained(trial, fitted)

    monkeypatch.setattr(executor, "train", train)
    began, handler = time.monotonic(), signal.getsignal(signal.SIGUSR2)
    sweep = Sweep(fitted, ledger)
    InlineExecutor().run(sweep)
    assert sweep.complete
    assert time.monotonic() - began < 30
    assert (ledger[0].state, ledger[0].cause, ledger[0].attempts) == ("failed", "timeout", 1)
    assert len(ledger[0].measured) == 1
    assert "limits.trial_minutes" in str(ledger[0].reason)
    assert sum(r.state == "failed" for r in ledger.records) == 1
    assert signal.getsignal(signal.SIGUSR2) is handler


def test_the_folder_is_the_latest_attempts(tmp_path: Path) -> None:
    first, second = Fence(tmp_path, 1, "a"), Fence(tmp_path, 2, "a")
    other = Fence(tmp_path, 1, "b")  # a driver with an older copy of the ledger counts it again
    assert first.take()
    assert first.held()
    assert second.take()
    assert (first.held(), second.held()) == (False, True)
    assert not first.take()  # it was late to begin
    assert second.held()
    assert other.take()
    assert (second.held(), other.held()) == (False, True)


WORKER = """
import json, sys
from sweeper.sweep.executor import Job, work
for report in work(Job(**json.loads(sys.argv[1]))):
    print(json.dumps([report["kind"], report.get("images")]), flush=True)
    sys.stdin.readline()
print("over", flush=True)
"""


@pytest.mark.slow
def test_a_worker_that_was_cut_off_leaves_its_successors_folder_alone(tmp_path: Path) -> None:
    """Two real processes on one folder: the first is stopped in the middle of its trial, and wakes
    up while the second is at it."""
    plan = small(tmp_path, trials=1)
    with Ledger(plan.folder) as ledger:
        sweep = Sweep(plan, ledger)
        first = sweep.next()
        assert first is not None
        with begun(first) as old:
            assert old.stdin
            assert old.stdout
            assert line(old) == ["measured", plan.every]
            os.kill(old.pid, signal.SIGSTOP)
            sweep.lost(first, "cut off", "node")
            second = sweep.next()
            assert second is not None
            reports = work(second)
            assert next(reports)["images"] == plan.every  # it goes on from the first one's state
            seen = checkpoints(second)
            os.kill(old.pid, signal.SIGCONT)
            old.stdin.write("\n" * 20)
            old.stdin.close()
            # The measurement that it comes to is its last, and is told to nobody.
            assert old.stdout.read() == "over\n"
            assert old.wait(60) == 0
            assert set(seen) <= set(checkpoints(second))
        rest = [report["images"] for report in reports]
        assert rest[-1] == plan.horizon
        assert rest == sorted(set(rest))


def begun(job: Job) -> subprocess.Popen[str]:
    command, pipe = [sys.executable, "-c", WORKER, json.dumps(job.plain())], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def checkpoints(job: Job) -> list[str]:
    return [path.name for path in (Path(job.folder) / "checkpoints").glob("*.pt")]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_worker_that_hangs_is_replaced(command: Callable[..., Command], tmp_path: Path) -> None:
    """A worker is stopped as if it hung, and its trial is tried again by another. Nobody minds that
    it cannot hear that it is to end."""
    bounds = ["--set", "limits.trial_minutes=1", "--set", "retries.timeout=1"]
    running, folder = run(command, tmp_path, 2, *bounds), tmp_path / "ttur"
    until(lambda: any(r.measured for r in records(folder)), running)
    workers = pids("ray::ImplicitFunc", running.process.pid)
    assert workers
    os.kill(workers[0], signal.SIGSTOP)
    assert running.wait() == 0, running.text()
    found = records(folder)
    assert all(r.state in ("completed", "stopped") for r in found)
    assert sum(r.losses["timeout"] for r in found) == 1
    assert sum(r.lost for r in found) == 1
    assert "Traceback" not in running.text()


def test_a_number_of_another_protocol_is_not_ranked(plan: Plan, ledger: Ledger) -> None:
    sweep = Sweep(tried(plan), ledger)
    job = sweep.next()
    assert job is not None
    assert not sweep.report(job, measured(plan, protocol="0123456789ab"))
    record = ledger[job.number]
    assert (record.state, record.score) == ("failed", None)
    assert "numbers are ranked under one protocol" in str(record.reason)
    assert plan.protocol.hash in str(record.reason)
