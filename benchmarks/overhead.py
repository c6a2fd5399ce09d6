#!/usr/bin/env python
"""What a trial costs beside its training: sweeper, Ray Tune, a pool of actors by hand, Optuna.

Two trials run at a time on a local Ray, but for Optuna alone, and they do next to nothing. Each
side has a process and a Ray of its own and is measured once a block, in turns; what starts, and the
first trials of each worker, do not count. A trial's overhead is the time of a slot that it takes,
less its own: the wall time times the slots, over the trials. Of sweeper that is ``sweeper run``
with all that it keeps (ledger, tables, checkpoints, MLflow), less the seconds that its trials, a
DCGAN of two rounds, say they trained and measured; what MLflow is told after the last trial counts,
too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from pairs import Row, Times, told

if TYPE_CHECKING:
    import optuna

SLOTS = 2
WARM = 0.1
"""The share of the trials that come first and do not count: workers import and fill their caches,
and MLflow makes its database."""
TRIALS, QUICK = 200, 16
FRESH = 12
"""Trials of a process each, which take seconds."""
BLOCKS = 3
SHARE = 0.01 * 30
SPACE = """\
name: overhead
extends: base/dcgan.yaml
trial:
  architecture: {dcgan: {channels: 4}}
  prior: {gaussian_latent: {size: 8}}
  generator: {optimizer: {adam: {lr: {loguniform: [1.0e-4, 1.0e-2]}}}}
  discriminator: {optimizer: {adam: {lr: {loguniform: [1.0e-4, 1.0e-2]}}}}
  batch: {size: 8}
  evaluation: {features: random_conv, samples: 16, full_samples: 16, every_kimg: 0.016}
search: {method: tpe, seed: 0}
confirm: {top: 0}
budget: {max: 0.016, rungs: none}
"""
RATES = ("generator.optimizer.adam.lr", "discriminator.optimizer.adam.lr")

OURS, HAND = "sweeper", "pool of two actors by hand"
TRAINED = "the same pool, training the same trials"
FUNCTION = "Tune, function trainable, a process each"
CLASS = "Tune, class trainable, actors reused"
OPTUNA, LIMIT = "Optuna alone, one after another", "1 % of a trial of 30 s"


def sweeper(trials: int, folder: Path) -> float:
    from sweeper.ledger.ledger import Ledger

    swept(trials, folder)
    with Ledger(folder / OURS, write=False) as ledger:
        ends = [(record, record.last.at) for record in ledger.ends() if record.last]
    failed = [record.name for record, _ in ends if record.state != "completed"]
    assert not failed, f"every trial trains, but not {failed}"
    after = (folder / "mlflow.db").stat().st_mtime - ends[-1][1]
    own = fmean(record.seconds for record, _ in ends[first(trials) :])
    late = max(after, 0.0) / (trials - first(trials))
    return a_trial([at for _, at in ends]) + late - own


def swept(trials: int, folder: Path) -> None:
    """``sweeper run``, as it is typed."""
    (folder / "space.yaml").write_text(SPACE)
    where = ["--out", folder, "--name", OURS, "--address", "local", "--trials", trials]
    run(["-m", "sweeper.cli", "run", folder / "space.yaml", *where, "--data", "digits"])


def run(words: Sequence[object]) -> str:
    """What a Python of its own prints."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words} fails:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def function(trials: int, folder: Path) -> float:
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        import torch

        tune.report({"score": torch.tensor(config["lr"]).item()})

    return tuned(trainable, trials, folder, reuse=False)


def reused(trials: int, folder: Path) -> float:
    from ray import tune

    class Trainable(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            import torch

            self.rate = torch.tensor(config["lr"])

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            return {"score": self.rate.item(), "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """There is nothing to keep."""

        def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
            """Nothing was kept."""

    return tuned(Trainable, trials, folder, reuse=True)


def tuned(trainable: Any, trials: int, folder: Path, *, reuse: bool) -> float:
    """As Tune's documentation has it, with sweeper's settings of Ray, which leave out loggers."""
    from ray import tune
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner

    ends: list[float] = []

    class Ends(Callback):
        def on_trial_complete(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            ends.append(time.monotonic())

    found = Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={"lr": tune.loguniform(1e-4, 1e-2)},
        tune_config=TuneConfig(
            metric="score",
            mode="min",
            num_samples=trials,
            max_concurrent_trials=SLOTS,
            reuse_actors=reuse,
        ),
        run_config=RunConfig(storage_path=str(folder), verbose=0, callbacks=[Ends()]),
    ).fit()
    if found.errors:
        raise found.errors[0]
    return a_trial(ends)


def by_hand(trials: int, folder: Path) -> float:
    """Trials that return at once."""

    def drawn(asked: optuna.Trial) -> Any:
        return [asked.suggest_float(name, 1e-4, 1e-2, log=True) for name in RATES]

    def trained(rates: list[float]) -> tuple[float, float]:
        return sum(rates), 0.0

    return pooled(trials, folder, drawn, trained)


def by_hand_and_trained(trials: int, folder: Path) -> float:
    """What sweeper's workers train, with nothing kept of it."""
    from sweeper.sweep.plan import Settings, prepare

    (folder / "space.yaml").write_text(SPACE)
    plan = prepare(Settings(folder / "space.yaml", "digits", out=folder))

    def drawn(asked: optuna.Trial) -> Any:
        return plan.space.sample(asked).plain(), plan.cache

    def trained(job: tuple[dict[str, Any], Path]) -> tuple[float, float]:
        from sweeper.config import Trial
        from sweeper.trial.loop import train

        *_, last = train(Trial.read(job[0]), job[1])
        return last.score, last.seconds

    return pooled(trials, folder, drawn, trained)


def pooled(
    trials: int,
    folder: Path,
    drawn: Callable[[optuna.Trial], Any],
    trained: Callable[[Any], tuple[float, float]],
) -> float:
    """A long-lived actor a slot, Optuna asked and told: what one writes without Tune. ``trained``
    returns a score, and the trial's own seconds."""
    import ray

    class Worker:
        def train(self, job: Any) -> tuple[float, float]:
            import torch  # noqa: F401

            return trained(job)

    actor: Any = ray.remote(num_cpus=1)(Worker)
    ends, own = list[float](), list[float]()
    study, workers = studied(folder), [actor.remote() for _ in range(SLOTS)]
    under_way: dict[Any, tuple[Any, optuna.Trial]] = {}
    for asked in range(trials + SLOTS):
        if asked >= SLOTS:
            (done,), _ = ray.wait(list(under_way))
            worker, trial = under_way.pop(done)
            score, seconds = ray.get(done)
            study.tell(trial, score)
            ends.append(time.monotonic())
            own.append(seconds)
            workers.append(worker)
        if asked < trials:
            trial, worker = study.ask(), workers.pop()
            under_way[worker.train.remote(drawn(trial))] = worker, trial
    return a_trial(ends) - fmean(own[first(trials) :])


def alone(trials: int, folder: Path) -> float:
    study, ends = studied(folder), list[float]()
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, sum(trial.suggest_float(name, 1e-4, 1e-2, log=True) for name in RATES))
        ends.append(time.monotonic())
    return a_trial(ends, slots=1)


def studied(folder: Path) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(storage=f"sqlite:///{folder / 'study.db'}")


def a_trial(ends: Sequence[float], slots: int = SLOTS) -> float:
    """The time of a slot that a trial took, from the moments at which trials ended."""
    n = first(len(ends))
    return slots * (ends[-1] - ends[n - 1]) / (len(ends) - n)


def first(trials: int) -> int:
    """How many do not count: two a slot at least."""
    return max(2 * SLOTS, round(WARM * trials))


SIDES: dict[str, Callable[[int, Path], float]] = {
    OURS: sweeper,
    FUNCTION: function,
    CLASS: reused,
    HAND: by_hand,
    TRAINED: by_hand_and_trained,
    OPTUNA: alone,
}
ON_RAY = (FUNCTION, CLASS, HAND, TRAINED)
"""Those that do not start one of their own."""


def measured(trials: int, blocks: int, sides: Sequence[str] = tuple(SIDES)) -> Times:
    """Overhead of a trial, a row a block, and the limit that we promise beside it."""
    seconds = np.full((blocks, len(sides) + 1), SHARE)
    for block in range(blocks):
        order = range(len(sides))
        for i in order if block % 2 == 0 else reversed(order):
            fresh = sides[i] == FUNCTION
            seconds[block, i] = apart(sides[i], min(trials, FRESH) if fresh else trials)
            print(f"  block {block + 1}: {sides[i]}: {seconds[block, i]:.3f} s", file=sys.stderr)
    return Times((*sides, LIMIT), seconds)


def here(side: str, trials: int, folder: Path) -> float:
    """Measure a side in this process, on a Ray as sweeper starts it: one thread a worker."""
    from sweeper.sweep.tune import local_ray

    # Before Ray is imported, which reads what is set for it once.
    with local_ray(1) if side in ON_RAY else nullcontext():
        return SIDES[side](trials, folder)


def apart(side: str, trials: int) -> float:
    """Measure a side in a process of its own."""
    with TemporaryDirectory(prefix="swo-") as folder:
        *_, last = run([__file__, "--side", side, "--trials", trials, "--folder", folder]).split()
    return float(last)


def rows(quick: bool) -> list[Row]:
    return compared(QUICK if quick else TRIALS, 1 if quick else BLOCKS)


def compared(trials: int, blocks: int) -> list[Row]:
    times = measured(trials, blocks)
    protocol = (
        f"seconds of a slot that a trial takes beside its own, {trials} trials a block less the "
        f"first {first(trials)}, {min(trials, FRESH)} less {first(FRESH)} where each is a process; "
        f"{SLOTS} at a time on a local Ray, but for Optuna alone; wall time, each side in turn"
    )
    promised = {FUNCTION: 10.0, HAND: 1 / 3, LIMIT: 1.0}
    return [
        times.row(
            OURS,
            name,
            part="overhead",
            case="a trial beside its training",
            protocol=protocol,
            at_least=promised.get(name),
        )
        for name in times.names
        if name != OURS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--side", choices=SIDES, help="measure one side, here and once")
    parser.add_argument("--folder", type=Path, help="with --side: an empty folder to work in")
    asked = parser.parse_args()
    if asked.side:
        with TemporaryDirectory(prefix="swo-") as folder:
            print(here(asked.side, asked.trials, asked.folder or Path(folder)))
    else:
        print(told(compared(asked.trials, asked.blocks)))


if __name__ == "__main__":
    main()
