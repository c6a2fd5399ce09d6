"""Thin adapters between Ray Tune and the driver of a sweep. They keep nothing: the ledger does."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any, ClassVar

from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeper.sweep.executor import Job, Sweep, work

WITH_TUNE = Path(".cache") / "tune"


def trainable(config: dict[str, Any]) -> None:
    """One attempt at one trial, in a worker that is used again for the next."""
    for report in work(Job(**config["job"])):
        # As one string: Tune flattens mappings and adds two dozen fields of its own.
        tune.report({"report": json.dumps(report)})


class Live:
    """The sweep that this process drives. Tune pickles its parts as soon as it is given them, so
    they hold none."""

    sweep: ClassVar[Sweep]
    jobs: ClassVar[dict[str, Job]] = {}


class LedgerSearcher(Searcher):
    """Asks the driver what to run next, and tells it when a worker is done or dead."""

    def suggest(self, trial_id: str) -> Any:
        job = Live.sweep.next()
        if job is not None:
            Live.jobs[trial_id] = job
            return {"job": job.plain()}
        return Searcher.FINISHED if Live.sweep.complete or Live.sweep.stopping.is_set() else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        job = Live.jobs.pop(trial_id, None)
        if job is None:
            return
        if error:
            Live.sweep.lost(job, "the worker process died")
        else:
            Live.sweep.finished(job)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        """There is nothing to restore."""


class LedgerScheduler(FIFOScheduler):
    """Passes every report to the driver, whose rungs say whether the trial goes on."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        job = Live.jobs.get(trial.trial_id)
        if job is None:
            return str(TrialScheduler.STOP)
        go_on = Live.sweep.report(job, json.loads(result["report"]))
        return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)


class StopAll(Stopper):
    """Ends everything when the driver was told to stop."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return Live.sweep.stopping.is_set()


class TuneExecutor:
    """Runs trials on Ray, as many at once as there is room for."""

    name = "ray"

    def __init__(self, concurrency: int, gpus: float) -> None:
        self.concurrency, self.gpus = concurrency, gpus

    def run(self, sweep: Sweep) -> None:
        """Run until the sweep is complete or told to stop."""
        Live.sweep, Live.jobs = sweep, {}
        resources = {"cpu": sweep.plan.space.resources.cpu, "gpu": self.gpus}
        segment = 0
        while not sweep.complete and not sweep.stopping.is_set():
            sweep.live.clear()
            self._tuner(sweep, resources, f"{sweep.plan.id}-{os.getpid()}-{segment}").fit()
            segment += 1

    def _tuner(self, sweep: Sweep, resources: dict[str, float], name: str) -> Tuner:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Tuner(
                tune.with_resources(trainable, resources),
                tune_config=TuneConfig(
                    search_alg=LedgerSearcher(),
                    scheduler=LedgerScheduler(),  # type: ignore[no-untyped-call]
                    num_samples=1_000_000,
                    max_concurrent_trials=self.concurrency,
                    reuse_actors=True,
                ),
                run_config=RunConfig(
                    name=name,
                    storage_path=str(sweep.plan.out / WITH_TUNE),
                    verbose=0,
                    stop=StopAll(),
                    failure_config=FailureConfig(max_failures=0),
                    checkpoint_config=CheckpointConfig(num_to_keep=1),
                ),
            )
