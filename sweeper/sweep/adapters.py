"""Thin adapters between Ray Tune and the driver of a sweep. They keep nothing: the ledger does."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import warnings
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, NodeDiedError, RayActorError
from ray.tune import (
    Callback,
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    Stopper,
    TuneConfig,
    Tuner,
)
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeper.sweep.executor import Job, Sweep, work
from sweeper.sweep.failures import cause_of, full
from sweeper.sweep.limits import Clock, late
from sweeper.sweep.placement import requested
from sweeper.sweep.preflight import unfit
from sweeper.sweep.room import POLL

WITH_TUNE = Path(".cache") / "tune"
DIED = ("the worker process died", "worker")
FIT: set[tuple[str, str, str]] = set()
"""Sweeps that this worker process was found fit for."""
ATTEMPTS = count()
"""Of this worker process, from 0."""
LOW = "running low on memory"
"""What Ray says when it has ended a worker before the system would."""


def trainable(config: dict[str, Any]) -> None:
    """One attempt at one trial, in a worker that is used again for the next."""
    settle()
    job = Job(**config["job"])
    for report in turned_away(job) or work(job):
        # As one string: Tune flattens mappings and adds two dozen fields of its own.
        tune.report({"report": json.dumps(report)})


def settle() -> None:
    """From a worker's second attempt on, Python's collector of garbage leaves alone what the first
    one imported: half a million objects, which it would go through before every trial."""
    if next(ATTEMPTS) == 1:
        gc.collect()
        gc.freeze()


def turned_away(job: Job) -> list[dict[str, Any]]:
    """What is reported in place of a trial where this node, which may have joined after the driver
    looked at all, cannot run it. The trial does not pay for that: its node counts as lost."""
    sweep = job.storage or job.cache, Path(job.folder).parents[1].name, job.cache
    reason = None if sweep in FIT else unfit(*sweep)
    if reason is None:
        FIT.add(sweep)
        return []
    node = ray.get_runtime_context().get_node_id()
    failed = {"kind": "failed", "cause": "node", "reason": reason, "traceback": ""}
    return [{**failed, "unfit": node}]


class Live:
    """The sweep that this process drives. Tune pickles its parts as soon as it is given them, so
    they hold none.

    ``clock`` knows how long each of Tune's trials has been silent; ``workers`` are its actors,
    ``causes`` what took one, until the driver is told, and ``unfit`` the nodes that turned one
    away.
    """

    sweep: ClassVar[Sweep]
    clock: ClassVar[Clock]
    jobs: ClassVar[dict[str, Job]] = {}
    workers: ClassVar[dict[str, Any]] = {}
    causes: ClassVar[dict[str, tuple[str, str]]] = {}
    unfit: ClassVar[set[str]] = set()

    @classmethod
    def avoid(cls, node: str, reason: str) -> None:
        """Send no more trials to a node, and say so once."""
        if node not in cls.unfit:
            cls.unfit.add(node)
            cls.sweep.say(f"no more trials go to a node that joined ({node[:8]}): {reason}")


class LedgerSearcher(Searcher):
    """Asks the driver what to run next, and tells it when a worker is done or dead."""

    def suggest(self, trial_id: str) -> Any:
        job = Live.sweep.next()
        if job is not None:
            Live.jobs[trial_id] = job
            return {"job": job.plain(), "unfit": sorted(Live.unfit)}
        return Searcher.FINISHED if Live.sweep.complete or Live.sweep.stopping.is_set() else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        job, cause = Live.jobs.pop(trial_id, None), Live.causes.pop(trial_id, None)
        Live.clock.forget(trial_id)
        Live.workers.pop(trial_id, None)
        if job is None:
            return
        if error:
            Live.sweep.lost(job, *(cause or DIED))
        else:
            Live.sweep.finished(job)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        """There is nothing to restore."""


class LedgerScheduler(FIFOScheduler):
    """Passes every report to the driver, whose rungs say whether the trial goes on, and sees why a
    worker died."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        job = Live.jobs.get(trial.trial_id)
        if job is None:
            return str(TrialScheduler.STOP)
        Live.clock.hear(trial.trial_id)
        report = read(result.get("report"))
        if "unfit" in report:
            Live.avoid(report["unfit"], report["reason"])
        go_on = Live.sweep.report(job, report)
        return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        Live.causes.setdefault(trial.trial_id, death(trial))


def read(report: Any) -> dict[str, Any]:
    """A worker's report, or what is none, for the driver to judge."""
    try:
        plain = json.loads(report)
    except (TypeError, ValueError):
        plain = None
    return plain if isinstance(plain, dict) else {"kind": "nothing", "report": report}


def death(trial: Any) -> tuple[str, str]:
    """Why Tune gave up a trial, in words, and the cause."""
    try:
        # Written a moment ago, by this very process.
        error = pickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, TypeError, pickle.UnpicklingError):
        return DIED
    return took(error)


def took(error: Exception) -> tuple[str, str]:
    """What an error of Ray's says of how a worker was lost, in words, and the cause: the ``node``
    was taken away or lost, memory ran out (``oom``), or the ``worker`` died alone.

    Whether a lost node died or was cut off, Ray cannot know: of either it may say the one or the
    other.
    """
    text = str(error)
    if getattr(error, "preempted", False):
        return "its node was taken away", "node"
    unreached = isinstance(error, ActorUnavailableError | NodeDiedError)
    if unreached or "node has died" in text or "node died" in text:
        return "its node was lost", "node"
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return ("its node ran out of memory", "oom") if LOW in text else DIED
    return " ".join(text.split())[-300:], cause_of(error)


class Workers(Callback):
    """Starts the clock of a trial when it is given a worker, since it may wait long for one, and
    ends the worker of a trial that is silent for too long."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        Live.clock.hear(trial.trial_id)
        Live.workers[trial.trial_id] = trial.temporary_state.ray_actor
        if (job := Live.jobs.get(trial.trial_id)) is not None:
            Live.sweep.spent.start(Live.sweep.ledger[job.number])

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        for trial_id in Live.clock.overdue():
            Live.causes[trial_id] = (late(Live.clock.minutes), "timeout")
            Live.clock.forget(trial_id)
            ray.kill(Live.workers[trial_id])


class StopAll(Stopper):
    """Ends everything when the driver was told to stop."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return Live.sweep.stopping.is_set()


class TuneExecutor:
    """Runs trials on Ray, as many at once as there is room for."""

    name = "ray"

    def __init__(self, concurrency: int, gpus: float, nodes: frozenset[str] | None = None) -> None:
        self.concurrency, self.gpus, self.nodes = concurrency, gpus, nodes

    def run(self, sweep: Sweep) -> None:
        """Run until the sweep is complete or told to stop. A disk that is full ends no more than a
        segment of it."""
        Live.sweep, Live.clock = sweep, Clock(sweep.plan.space.limits.trial_minutes)
        Live.unfit = set()
        # It tells of each lost worker with a traceback; the views do in a line.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        segment = 0
        while not sweep.complete and not sweep.stopping.is_set():
            for job in Live.jobs.values():
                sweep.finished(job)
            Live.jobs, Live.causes, Live.workers = {}, {}, {}
            Live.clock.heard.clear()
            try:
                self._tuner(sweep, f"{sweep.plan.id}-{os.getpid()}-{segment}").fit()
            except Exception as error:
                if cause_of(error) != "storage":
                    raise
                said = str(error).strip().rpartition("\n")[2]  # Tune puts a traceback before it
                sweep.room.ran_out(f"Ray Tune: {said}", full=full(error))
            while not sweep.room.there() and not sweep.stopping.wait(POLL):
                pass
            segment += 1

    def _tuner(self, sweep: Sweep, name: str) -> Tuner:
        resources = requested(sweep.plan.space.resources.cpu, self.nodes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Tuner(
                tune.with_resources(trainable, resources),
                tune_config=TuneConfig(
                    search_alg=LedgerSearcher(),
                    scheduler=LedgerScheduler(),  # type: ignore[no-untyped-call]
                    num_samples=1_000_000,
                    max_concurrent_trials=self.concurrency,
                    # What a trial leaves on a GPU dies with its process.
                    reuse_actors=self.gpus == 0,
                ),
                run_config=RunConfig(
                    name=name,
                    storage_path=str(sweep.plan.out / WITH_TUNE),
                    verbose=0,
                    stop=StopAll(),
                    callbacks=[Workers()],
                    failure_config=FailureConfig(max_failures=0),
                    checkpoint_config=CheckpointConfig(num_to_keep=1),
                ),
            )
