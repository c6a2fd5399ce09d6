"""MLflow as a projection of the ledger: one run per trial, made from what the ledger says.

A pass compares what the ledger says with what MLflow holds, and writes the difference; so an
outage, a crash and a second opening all end in the same runs.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.ledger.ledger import Event, Ledger, Record
from sweeper.ledger.names import format_value
from sweeper.ledger.redact import hide
from sweeper.sweep import views

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP = "sweep"  # the key of the parent run; a trial's key is its number
STATUS = {
    "pending": "SCHEDULED",
    "running": "RUNNING",
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "diverged": "FAILED",
    "diagnosed": "FAILED",
    "failed": "FAILED",
}
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
METRICS_A_BATCH = 1000  # MLflow's limits
PARAMS_A_BATCH = 100
TAG_LENGTH = 5000
NAME_LENGTH = 60
ATTEMPTS_AT_CLOSE = 3
ABSENT = "off"


@dataclass(frozen=True)
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class Run:
    """What MLflow should hold about a trial, or about the sweep. Times are in milliseconds."""

    key: str
    name: str
    start: int
    end: int
    seq: int
    status: str
    params: Mapping[str, str]
    metrics: Sequence[Metric]
    tags: Mapping[str, str]
    document: tuple[str, Mapping[str, Any]]
    sheets: Mapping[int, tuple[Path, int]] = field(default_factory=dict)

    @property
    def version(self) -> tuple[int, str]:
        """Two projections of one trial are the same when these are."""
        return self.seq, self.status


@dataclass
class Held:
    """What MLflow holds of a run."""

    id: str
    metrics: set[tuple[str, int]]
    sheets: set[int]


def default_uri(folder: Path) -> str:
    """The database that the sweeps beside this results folder share."""
    return f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"


class Tracker:
    """One thread on the driver that tells MLflow what the ledger says.

    It never delays and never fails a sweep: an MLflow that does not answer leaves one line in
    ``warnings``, and is told everything once it answers again, in this process or the next.
    ``experiment`` is the experiment's id once MLflow has answered.
    """

    def __init__(self, plan: Mapping[str, Any], ledger: Ledger, folder: Path, uri: str) -> None:
        self.plan, self.ledger, self.folder, self.uri = plan, ledger, folder, uri
        self.warnings: list[str] = []
        self.experiment: str | None = None
        self._client: MlflowClient | None = None
        self._ids: dict[str, str] = {}
        self._held: dict[str, Held] = {}
        self._told: dict[str, tuple[int, str]] = {}
        self._failures: dict[str, int] = {}
        self._dirty: set[int] = set()
        self._best = Best(plan)
        self._best_told = 0
        self._news = threading.Event()
        self._news.set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def observe(self, event: Event) -> None:
        """Say that the ledger has something new. Returns at once."""
        self._dirty.add(event.trial)
        self._news.set()

    def close(self, deadline: float = 60.0) -> int:
        """Tell what is left, in ``deadline`` seconds at most, and say how the sweep ended.

        Returns how many runs, the sweep's own among them, MLflow does not have in full.
        """
        self._closing.set()
        self._news.set()
        self._thread.join(deadline)
        if self.ledger.newest is None:
            return 0
        trials = sum(self._lacks(record, closing=True) for record in self.ledger.records)
        return trials + (self._told.get(SWEEP) != _sweep_version(self.plan, self.ledger, True))

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

    def _rest(self, closing: bool, failures: int) -> None:
        if closing:
            time.sleep(0.5)
        else:
            self._closing.wait(min(30.0, 0.25 * 2.0 ** min(failures, 10)))

    def _warn(self, error: Exception) -> None:
        if not self.warnings:
            reason = hide(str(error)).strip().partition("\n")[0][:200]
            self.warnings.append(
                f"MLflow at {hide(self.uri)} takes no records ({type(error).__name__}: {reason}); "
                "the sweep goes on, and MLflow is told when it answers again"
            )

    def _lacks(self, record: Record, *, closing: bool) -> bool:
        """Whether MLflow does not have a trial as the ledger has it."""
        return record.last is not None and (
            self._told.get(str(record.number)) != _version(record, closing)
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
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # takes seconds, and must come after the environment

        client = MlflowClient(tracking_uri=self.uri)
        self.experiment = self._find_experiment(client)
        self._ids, self._held, self._told, self._best_told = {}, {}, {}, 0
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
        """Find or make a run, with everything about it that never changes."""
        from mlflow.entities import Param

        if run.key in self._held:
            return self._held[run.key]
        if run.key in self._ids:
            held = _look(client, self._ids[run.key], run)
            known = client.get_run(held.id).data.params
        else:
            assert self.experiment is not None
            tags = dict(run.tags)
            if run.key != SWEEP:
                tags["mlflow.parentRunId"] = self._ids[SWEEP]
            made = client.create_run(self.experiment, run.start, tags, run.name)
            held, known = Held(made.info.run_id, set(), set()), {}
        params = [Param(key, value) for key, value in run.params.items() if key not in known]
        for some in _chunks(params, PARAMS_A_BATCH):
            client.log_batch(held.id, params=some, synchronous=True)
        name, document = run.document
        client.log_dict(held.id, dict(document), name)
        self._ids[run.key] = held.id
        self._held[run.key] = held
        return held

    def _deliver(self, client: MlflowClient, run: Run) -> None:
        """Write what MLflow lacks of a run. The tags come last: they say that the rest is there."""
        from mlflow import entities

        held = self._open(client, run)
        for step, (path, timestamp) in run.sheets.items():
            if step not in held.sheets and (image := _image(path)) is not None:
                client.log_image(
                    held.id, image, key="samples", step=step, timestamp=timestamp, synchronous=True
                )
                held.sheets.add(step)
        if run.status in ("RUNNING", "SCHEDULED"):
            client.update_run(held.id, run.status)
        else:
            client.set_terminated(held.id, run.status, run.end)
        fresh = [m for m in run.metrics if (m.key, m.step) not in held.metrics]
        for some in _chunks(fresh, METRICS_A_BATCH):
            batch = [entities.Metric(m.key, m.value, m.timestamp, m.step) for m in some]
            client.log_batch(held.id, metrics=batch, synchronous=True)
            held.metrics.update((m.key, m.step) for m in some)
        last = {**run.tags, "sweeper.seq": str(run.seq)}
        tags = [entities.RunTag(key, value) for key, value in last.items()]
        client.log_batch(held.id, tags=tags, synchronous=True)
        self._told[run.key] = run.version
        if run.key == SWEEP:
            self._best_told += len(run.metrics)
        elif run.status not in ("RUNNING", "SCHEDULED"):
            del self._held[run.key]  # it stays as it is


def of_trial(plan: Mapping[str, Any], folder: Path, record: Record, closing: bool) -> Run:
    """Say what MLflow should hold about a trial.

    ``closing``: nobody works on the sweep any more, so a trial that has not ended is interrupted.
    """
    assert record.last is not None
    seq, status = _version(record, closing)
    tags = {
        "sweeper.sweep_id": str(plan["id"]),
        "sweeper.kind": "trial",
        "sweeper.trial": str(record.number),
        "sweeper.state": "interrupted" if status == "KILLED" else record.state,
        "sweeper.attempts": str(record.attempts),
    }
    if used := plan.get("use"):
        tags["sweeper.use"] = ", ".join(f"{u['name']} {u['sha256']}" for u in used)[:TAG_LENGTH]
    if record.baseline is not None:
        tags["sweeper.baseline"] = record.baseline
    if record.warnings:
        tags["sweeper.warnings"] = "\n".join(record.warnings)[:TAG_LENGTH]
    if any(event.verdicts for event in record.measured):
        tags["sweeper.diagnosis"] = _diagnosis(record.measured[-1])
    if record.reason:
        tags["sweeper.reason"] = record.reason[:TAG_LENGTH]
    return Run(
        key=str(record.number),
        name=_name(plan, record),
        start=_ms(record.events[0].at),
        end=_ms(record.last.at),
        seq=seq,
        status=status,
        params=_params(plan, record),
        metrics=list(_metrics(plan, record)),
        tags=tags,
        document=("trial.json", record.config),
        sheets=_sheets(plan, folder, record),
    )


def _diagnosis(event: Event) -> str:
    """What the diagnostics say at a measurement. A tag cannot be taken away, so silence is a dash,
    too."""
    said = (f"{v['name']}, {v['level']}: {v['says']}" for v in event.verdicts)
    return "\n".join(said)[:TAG_LENGTH] or "–"


class Best:
    """The best of a sweep, as trials ended."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self.metrics: list[Metric] = []
        self.trial: int | None = None
        self.ends = 0
        self._plan = plan
        self._best: tuple[float, int] | None = None

    def learn(self, ledger: Ledger) -> None:
        """Take in the trials that have ended since."""
        for record in ledger.ends(self.ends):
            self.ends += 1
            assert record.last is not None
            values = (point.value for point in record.curve if point.value is not None)
            found = [(value, record.number) for value in values if math.isfinite(value)]
            if self._best is not None:
                found.append(self._best)
            if found:
                self._best = _better(self._plan)(found)
                value, self.trial = self._best
                key = f"sweep/{self._plan['metric']}_best"
                self.metrics.append(Metric(key, value, _ms(record.last.at), self.ends))


def of_sweep(plan: Mapping[str, Any], ledger: Ledger, best: Best, told: int, closing: bool) -> Run:
    """Say what MLflow should hold about the sweep: how it was set, and the best as trials ended,
    but for so many of the first that it was ``told``."""
    assert ledger.newest is not None
    seq, status = _sweep_version(plan, ledger, closing, best.ends)
    whole = status == "FINISHED"
    tags = {
        "sweeper.sweep_id": str(plan["id"]),
        "sweeper.kind": "sweep",
        "sweeper.trials": str(plan["trials"]),
        "sweeper.state": ("completed" if whole else "interrupted") if closing else "running",
        "mlflow.note.content": _note(plan),
    }
    if best.trial is not None:
        tags["sweeper.best_trial"] = str(best.trial)
    settings = ("method", "seed", "rungs", "factor", "horizon_kimg", "every_kimg", "metric", "mode")
    return Run(
        key=SWEEP,
        name=str(plan["name"]),
        start=_ms(ledger.began),
        end=_ms(ledger.newest.at),
        seq=seq,
        status=status,
        params={
            **{name: str(plan[name]) for name in settings},
            "data": str(plan["data"]["name"]),
            "protocol": str(plan["protocol_hash"]),
        },
        metrics=best.metrics[told:],
        tags=tags,
        document=("sweep.json", plan),
    )


def columns(parameter: Mapping[str, Any], short: str, value: Any) -> dict[str, str]:
    """Write a parameter as MLflow's columns: by its name, by its short name and, maybe, its log.

    A column has the same type in every trial, because MLflow's parallel plot drops a run that lacks
    a value, or has a word on an axis of numbers. So a parameter that a trial does not have is a
    number below its range: 0 where the range starts above 0, else a tenth of the range below it.
    On a log axis it is one decade below the range.
    Among words it is ``off``.
    """
    name = str(parameter["name"])
    if not _numeric(parameter):
        return dict.fromkeys((name, short), _word(value))
    there = isinstance(value, int | float) and not isinstance(value, bool)
    low, high = _range(parameter)
    text = f"{value if there else _below(low, high):.4g}"
    written = dict.fromkeys((name, short), text)
    if views.is_log(parameter):
        decade = math.log10(value) if there and value > 0 else math.log10(low) - 1
        written[views.helper(short)] = f"{decade:.4f}"
    return written


def _version(record: Record, closing: bool) -> tuple[int, str]:
    killed = closing and not record.ended
    seq = record.last.seq if record.last is not None else 0
    return seq, "KILLED" if killed else STATUS[record.state]


def _sweep_version(
    plan: Mapping[str, Any], ledger: Ledger, closing: bool, ends: int | None = None
) -> tuple[int, str]:
    """Which trials ended, so many of them or all, and how the sweep stands."""
    ended = ledger.ends()[:ends]
    seq = ended[-1].last.seq if ended and ended[-1].last is not None else 0
    if not closing:
        return seq, "RUNNING"
    whole = len(ended) == len(ledger) >= plan["trials"]
    return seq, "FINISHED" if whole else "KILLED"


def _better(plan: Mapping[str, Any]) -> Any:
    return min if plan["mode"] == "min" else max


def _name(plan: Mapping[str, Any], record: Record) -> str:
    """The number first and no hash, because the pages of MLflow cut a name after 25 letters."""
    if record.baseline is not None:
        return f"{record.name} {record.baseline}"[:NAME_LENGTH]
    text = record.name
    for name, short in views.short(plan).items():
        value = record.params.get(name)
        if value is None:
            continue
        item = f" {short}={format_value(value)}"
        if len(text + item) > NAME_LENGTH:
            break
        text += item
    return text


def _params(plan: Mapping[str, Any], record: Record) -> dict[str, str]:
    params = {
        "seed": str(record.config.get("seed", plan["seed"])),
        "data": str(plan["data"]["name"]),
        "baseline": record.baseline or ABSENT,
        "horizon_kimg": str(plan["horizon_kimg"]),
    }
    short = views.short(plan)
    for parameter in plan["parameters"]:
        name = parameter["name"]
        params |= columns(parameter, short[name], record.params.get(name))
    return params


def _metrics(plan: Mapping[str, Any], record: Record) -> Iterator[Metric]:
    """Everything measured, the score first: MLflow compares runs by what was logged first."""
    best: float | None = None
    ends = [*plan["rungs"], round(plan["horizon_kimg"] * 1000)]
    for event in record.measured:
        if event.value is not None and math.isfinite(event.value):
            best = event.value if best is None else _better(plan)(best, event.value)
        values = {
            views.score(plan): event.value,
            views.best(plan): best,
            "eval/heldout": event.data.get("heldout"),
            **{f"loss/{name}": loss for name, loss in event.data.get("losses", {}).items()},
            "perf/images_per_second": event.data.get("images_per_second"),
            "sweep/rung": sum(event.step >= end for end in ends),
            **dict(_seen(event)),
        }
        for key, value in values.items():
            # MLflow writes an infinity as 1.8e308, which flattens every plot.
            if value is not None and math.isfinite(value):
                yield Metric(key, float(value), _ms(event.at), event.step)


def _seen(event: Event) -> Iterator[tuple[str, float | None]]:
    """How varied the samples were, what was played, and what was seen of training, beside its
    losses, in the last window."""
    for name in ("distance", "deviation", "coverage"):
        yield f"variety/{name}", (event.data.get("variety") or {}).get(name)
    for name in ("d_steps", "g_steps"):
        yield f"progress/{name}", event.data.get(name)
    for window in event.data.get("windows", ())[-1:]:
        for name, series in window["series"].items():
            if "." not in name:
                yield f"training/{name.replace(' ', '_')}", series["mean"]


def _sheets(plan: Mapping[str, Any], folder: Path, record: Record) -> dict[int, tuple[Path, int]]:
    """The sample sheets worth sending: at the rungs, and an ended trial's best and last."""
    steps = set(plan["rungs"])
    measured = record.measured
    if record.ended and measured:
        steps.add(measured[-1].step)
        scored = [(e.value, e.step) for e in measured if e.value is not None]
        if scored:
            steps.add(_better(plan)(scored)[1])
    samples = folder / "trials" / f"{record.number:05d}" / "samples"
    return {
        event.step: (samples / f"{event.step:012d}.png", _ms(event.at))
        for event in measured
        if event.step in steps
    }


def _note(plan: Mapping[str, Any]) -> str:
    data = plan["data"]
    return (
        f"{plan['trials']} trials of `{plan['space']}` on {data['name']} "
        f"({data['examples']} examples), ranked by `{plan['metric']}` "
        f"under protocol `{plan['protocol_hash']}`.\n\n"
        f"    {plan['command']}\n"
    )


def _numeric(parameter: Mapping[str, Any]) -> bool:
    if parameter["kind"] != "choice":
        return True
    choices = parameter["choices"]
    return all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices)


def _range(parameter: Mapping[str, Any]) -> tuple[float, float]:
    if parameter["kind"] == "choice":
        return min(parameter["choices"]), max(parameter["choices"])
    return parameter["low"], parameter["high"]


def _below(low: float, high: float) -> float:
    return 0.0 if low > 0 else low - (high - low or 1.0) / 10


def _word(value: Any) -> str:
    """A value as a word, which a number among words is not unless it is quoted."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, int | float) else str(value)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    return (list(items[i : i + size]) for i in range(0, len(items), size))


def _artifacts(uri: str) -> str | None:
    """Where artifacts go: beside a local database, or where a server says."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _search(client: MlflowClient, experiment: str, sweep_id: str) -> Iterator[Any]:
    query, token = f"tags.`sweeper.sweep_id` = '{sweep_id}'", None
    while True:
        page = client.search_runs([experiment], query, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _look(client: MlflowClient, run_id: str, run: Run) -> Held:
    """Read which measurements and sample sheets are already there."""
    keys = {metric.key for metric in run.metrics}
    metrics = {(m.key, m.step) for key in keys for m in client.get_metric_history(run_id, key)}
    # The small copy is written after the image itself, so it says that both are there.
    pattern = re.compile(r"samples\+step\+(\d+)\+.*\+compressed\.webp$")
    files = client.list_artifacts(run_id, "images") if run.sheets else []
    found = (pattern.search(file.path) for file in files)
    return Held(run_id, metrics, {int(match[1]) for match in found if match})


def _image(path: Path) -> Any:
    """Read a sample sheet, or nothing where there is none that can be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError):
        return None
