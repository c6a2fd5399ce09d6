"""MLflow as a projection of the ledger: one run per trial, made from what the ledger says.

A pass compares what the ledger says with what MLflow holds, and writes the difference; so an
outage, a crash and a second opening all end in the same runs.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sweeper.ledger.ledger import Event, Ledger, Record
from sweeper.ledger.redact import hide
from sweeper.sweep import views
from sweeper.sweep.mlflow_models import Models
from sweeper.sweep.mlflow_runs import (
    SWEEP,
    Best,
    Input,
    Run,
    of_sweep,
    of_trial,
    sweep_version,
    version_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    # The defaults retry a dead server for four minutes a call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # What MLflow prints about new tables and finished runs would tear the live view.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
A_BATCH = 1000  # MLflow's limits: of all together, and of parameters
PARAMS_A_BATCH = 100
PACE = 5.0
"""Seconds between two passes, in which what happens is told at once: a trial that is over within
them takes one pass, not four."""
DIGEST = 36
ATTEMPTS_AT_CLOSE = 3


@dataclass
class Held:
    """What MLflow holds of a run."""

    id: str
    status: str = "RUNNING"
    """As one is that was just made."""
    params: set[str] = field(default_factory=set)
    metrics: set[tuple[str, int]] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    sheets: set[int] = field(default_factory=set)


def default_uri(folder: Path) -> str:
    """The database that the sweeps beside this results folder share."""
    return f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"


def without_user(address: str) -> str:
    """An address without the name and the password of somebody, which a browser asks for."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class Tracker:
    """One thread on the driver that tells MLflow what the ledger says.

    It never delays and never fails a sweep: an MLflow that does not answer leaves one line in
    ``warnings``, and is told everything once it answers again, in this process or the next.
    ``experiment`` is the experiment's id once MLflow has answered; ``say`` is then told the
    addresses of the sweep's pages, if it is a server that has some.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        ledger: Ledger,
        folder: Path,
        uri: str,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.plan, self.ledger, self.folder, self.uri = plan, ledger, folder, uri
        self.say = say
        self._outage: list[str] = []
        self.experiment: str | None = None
        self._client: MlflowClient | None = None
        self._ids: dict[str, str] = {}
        self._held: dict[str, Held] = {}
        self._told: dict[str, tuple[int, str]] = {}
        self._failures: dict[str, int] = {}
        self._dirty: set[int] = set()
        self._models = Models(plan, ledger, folder)
        self._until = math.inf
        self._best = Best(plan)
        self._best_told = 0
        self._news = threading.Event()
        self._news.set()
        self._closing = threading.Event()
        # MLflow reads it when it is imported, which Tune does by itself before a sweep begins.
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    @property
    def warnings(self) -> list[str]:
        """What went wrong, in a line each."""
        return self._outage + self._models.warnings

    def pages(self) -> list[str]:
        """The addresses of the sweep's pages, a line each: none before a server has answered, and
        none of a file, which ``sweeper ui`` shows."""
        if self.experiment is None or not self.uri.startswith(("http://", "https://")):
            return []
        found = views.links(without_user(self.uri), self.experiment, str(self.plan["id"]))
        return [f"  {view:<12} {link}" for view, link in found.items()]

    def observe(self, event: Event) -> None:
        """Say that the ledger has something new. Returns at once."""
        self._dirty.add(event.trial)
        self._news.set()

    def close(self, deadline: float = 60.0) -> int:
        """Tell what is left, in ``deadline`` seconds at most, and say how the sweep ended.

        Returns how many records MLflow does not have in full: runs, the sweep's own among them, and
        the generators of a sweep that is complete.
        """
        self._until = time.monotonic() + deadline
        self._closing.set()
        self._news.set()
        self._thread.join(deadline)
        if self.ledger.newest is None:
            return 0
        trials = sum(self._lacks(record, closing=True) for record in self.ledger.records)
        sweep = self._told.get(SWEEP) != sweep_version(self.plan, self.ledger, True)
        return trials + sweep + len(self._models.lacking())

    def _work(self) -> None:
        failures = 0
        while True:
            self._news.wait()
            # Looked at before the pass, so that the last pass comes after the last event.
            closing = self._closing.is_set()
            self._news.clear()
            try:
                self._tell(closing)
            except Exception as error:  # whatever MLflow does, the sweep goes on
                failures += 1
                self._warn(error)
                self._client = None
                self._news.set()
                if closing and failures >= ATTEMPTS_AT_CLOSE:
                    return
                self._rest(closing, failures)
            else:
                failures = 0
                if closing:
                    return
                self._closing.wait(PACE)

    def _rest(self, closing: bool, failures: int) -> None:
        if closing:
            time.sleep(0.5)
        else:
            self._closing.wait(min(30.0, 0.25 * 2.0 ** min(failures, 10)))

    def _warn(self, error: Exception) -> None:
        if not self._outage:
            reason = hide(str(error)).strip().partition("\n")[0][:200]
            self._outage.append(
                f"MLflow at {hide(self.uri)} takes no records ({type(error).__name__}: {reason}); "
                "the sweep goes on, and MLflow is told when it answers again"
            )

    def _lacks(self, record: Record, *, closing: bool) -> bool:
        """Whether MLflow does not have a trial as the ledger has it."""
        return record.last is not None and (
            self._told.get(str(record.number)) != version_of(record, closing)
        )

    def _tell(self, closing: bool) -> None:
        """Tell what MLflow does not have as the ledger has it: the sweep's own run first, because
        the trials refer to it, then those that something happened to.

        What failed before comes last, so that one bad run keeps no other waiting.
        """
        if self.ledger.newest is None:
            return
        client = self._client or self._connect()
        self._best.learn(self.ledger)
        sweep = of_sweep(self.plan, self.ledger, self._best, self._best_told, closing)
        if SWEEP not in self._ids or not self._failures.get(SWEEP):
            self._try(client, sweep)
        numbers = {r.number for r in self.ledger.records} if closing else set(self._dirty)
        for number in sorted(numbers, key=lambda n: (self._failures.get(str(n), 0), n)):
            # Before it is looked at, so that what happens from now on is told the next time.
            self._dirty.discard(number)
            record = self.ledger[number]
            if self._lacks(record, closing=closing):
                self._try(client, of_trial(self.plan, self.folder, record, closing))
        self._try(client, sweep)
        if closing:
            assert self.experiment is not None
            self._models.tell(
                client, self.experiment, self._ids, lambda: self._until - time.monotonic()
            )

    def _try(self, client: MlflowClient, run: Run) -> None:
        if self._told.get(run.key) == run.version:
            return
        try:
            self._deliver(client, run)
        except Exception:
            self._failures[run.key] = self._failures.get(run.key, 0) + 1
            if run.key != SWEEP:
                self._dirty.add(int(run.key))
            raise

    def _connect(self) -> MlflowClient:
        """Find what MLflow holds of this sweep."""
        from mlflow import MlflowClient  # takes seconds

        client = MlflowClient(tracking_uri=self.uri)
        known, self.experiment = self.experiment, self._find_experiment(client)
        if known is None:
            for line in self.pages():
                self.say(line)
        self._ids, self._held, self._told, self._best_told = {}, {}, {}, 0
        self._models.told.clear()
        for run in _search(client, self.experiment, self.plan["id"]):
            key = run.data.tags.get("sweeper.trial", SWEEP)
            if key in self._ids:
                # A request that timed out here can still have made its run there.
                client.delete_run(run.info.run_id)
                continue
            self._ids[key] = run.info.run_id
            if seq := run.data.tags.get("sweeper.seq"):
                self._told[key] = (int(seq), run.info.status)
        self._dirty.update(record.number for record in self.ledger.records)
        self._client = client
        return client

    def _find_experiment(self, client: MlflowClient) -> str:
        name = f"sweeper/{self.plan['space']}"
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            location = _artifacts(self.uri)
            experiment = client.get_experiment(client.create_experiment(name, location))
            client.set_experiment_tag(
                experiment.experiment_id, "mlflow.experimentKind", "custom_model_development"
            )
        elif experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        for key, value in views.tags(self.plan).items():
            if key not in experiment.tags:  # somebody may have changed the view by hand
                client.set_experiment_tag(experiment.experiment_id, key, value)
        return str(experiment.experiment_id)

    def _open(self, client: MlflowClient, run: Run) -> Held:
        """Find or make a run, with the files and inputs that never change."""
        if run.key in self._held:
            return self._held[run.key]
        if run.key in self._ids:
            held = _look(client, self._ids[run.key], run)
        else:
            assert self.experiment is not None
            tags = dict(run.tags)
            if run.key != SWEEP:
                tags["mlflow.parentRunId"] = self._ids[SWEEP]
            made = client.create_run(self.experiment, run.start, tags, run.name)
            held = Held(made.info.run_id, tags=tags)
        client.log_inputs(held.id, [_dataset(given) for given in run.inputs])
        name, document = run.document
        client.log_dict(held.id, dict(document), name)
        self._ids[run.key] = held.id
        self._held[run.key] = held
        return held

    def _deliver(self, client: MlflowClient, run: Run) -> None:
        """Write what MLflow lacks of a run. The tags come last: they say that the rest is there."""
        held = self._open(client, run)
        for step, (path, timestamp) in run.sheets.items():
            if step not in held.sheets and (image := _image(path)) is not None:
                client.log_image(
                    held.id, image, key="samples", step=step, timestamp=timestamp, synchronous=True
                )
                held.sheets.add(step)
        if run.status not in ("RUNNING", "SCHEDULED"):
            client.set_terminated(held.id, run.status, run.end)
        elif run.status != held.status:
            client.update_run(held.id, run.status)
        held.status = run.status
        _write(client, held, run)
        self._told[run.key] = run.version
        if run.key == SWEEP:
            self._best_told += len(run.metrics)
        elif run.status not in ("RUNNING", "SCHEDULED"):
            del self._held[run.key]  # it stays as it is


def _write(client: MlflowClient, held: Held, run: Run) -> None:
    """Write the parameters, metrics and tags that a run lacks, in as few batches as MLflow takes.
    Of a batch, it writes the tags last."""
    from mlflow.entities import Metric, Param, RunTag

    params = [Param(key, value) for key, value in run.params.items() if key not in held.params]
    fresh = [m for m in run.metrics if (m.key, m.step) not in held.metrics]
    metrics = [Metric(m.key, m.value, m.timestamp, m.step) for m in fresh]
    tags = {**run.tags, "sweeper.seq": str(run.seq)}
    changed = [RunTag(key, value) for key, value in tags.items() if held.tags.get(key) != value]
    while len(params) > PARAMS_A_BATCH or len(metrics) + len(params) + len(changed) > A_BATCH:
        room = A_BATCH - PARAMS_A_BATCH
        client.log_batch(held.id, metrics[:room], params=params[:PARAMS_A_BATCH], synchronous=True)
        params, metrics = params[PARAMS_A_BATCH:], metrics[room:]
    client.log_batch(held.id, metrics, params, changed, synchronous=True)
    held.params.update(run.params)
    held.metrics.update((m.key, m.step) for m in fresh)
    held.tags.update(tags)


def _artifacts(uri: str) -> str | None:
    """Where artifacts go: beside a local database, or where a server says."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _dataset(given: Input) -> Any:
    """A data set as MLflow has it. Telling it twice is telling it once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source, profile = (hide(json.dumps(dict(told))) for told in (given.source, given.profile))
    made = Dataset(given.name, given.digest[:DIGEST], "sweeper", source, profile=profile)
    return DatasetInput(made, [InputTag("mlflow.data.context", given.context)])


def _search(client: MlflowClient, experiment: str, sweep_id: str) -> Iterator[Any]:
    query, token = f"tags.`sweeper.sweep_id` = '{sweep_id}'", None
    while True:
        page = client.search_runs([experiment], query, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _look(client: MlflowClient, run_id: str, run: Run) -> Held:
    """Read what of a run is already there."""
    there = client.get_run(run_id)
    keys = {metric.key for metric in run.metrics} & there.data.metrics.keys()
    metrics = {(m.key, m.step) for key in keys for m in client.get_metric_history(run_id, key)}
    # The small copy is written after the image itself, so it says that both are there.
    pattern = re.compile(r"samples\+step\+(\d+)\+.*\+compressed\.webp$")
    files = client.list_artifacts(run_id, "images") if run.sheets else []
    found = (pattern.search(file.path) for file in files)
    sheets = {int(match[1]) for match in found if match}
    return Held(
        run_id, there.info.status, set(there.data.params), metrics, dict(there.data.tags), sheets
    )


def _image(path: Path) -> Any:
    """Read a sample sheet, or nothing where there is none that can be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError):
        return None
