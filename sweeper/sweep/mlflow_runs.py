"""What MLflow should hold of a sweep and of each of its trials, from what the ledger says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeper.ledger.come import come
from sweeper.ledger.confirmed import Run as Told
from sweeper.ledger.confirmed import confirmed, sentences
from sweeper.ledger.ledger import Event, Ledger, Record
from sweeper.ledger.names import format_value
from sweeper.sweep import views
from sweeper.sweep.agenda import AFTER, planned

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
TAG_LENGTH = 5000
NAME_LENGTH = 60
ABSENT = "off"


@dataclass(frozen=True, slots=True)
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True, slots=True)
class Input:
    """A data set that a run was made with, and what for. MLflow tells data sets apart by name and
    digest."""

    name: str
    digest: str
    context: str
    source: Mapping[str, Any]
    profile: Mapping[str, Any]


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
    inputs: Sequence[Input] = ()

    @property
    def version(self) -> tuple[int, str]:
        """Two projections of one trial are the same when these are."""
        return self.seq, self.status


def of_trial(plan: Mapping[str, Any], folder: Path, record: Record, closing: bool) -> Run:
    """Say what MLflow should hold about a trial.

    ``closing``: nobody works on the sweep any more, so a trial that has not ended is interrupted.
    """
    assert record.last is not None
    seq, status = version_of(record, closing)
    tags = {
        "sweeper.sweep_id": str(plan["id"]),
        # The views of MLflow show what is of one kind.
        "sweeper.kind": record.role if record.role in AFTER else "trial",
        "sweeper.trial": str(record.number),
        "sweeper.state": "interrupted" if status == "KILLED" else record.state,
        "sweeper.protocol": str(plan["protocol_hash"]),
        "sweeper.attempts": str(record.attempts),
    }
    tags |= _made_with(plan)
    tags["sweeper.role"] = record.role
    if record.of is not None:
        tags["sweeper.of"] = str(record.of)
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
        inputs=_inputs(plan),
    )


def _diagnosis(event: Event) -> str:
    """What the diagnostics say at a measurement. A tag cannot be taken away, so silence is a dash,
    too."""
    said = (f"{v['name']}, {v['level']}: {v['says']}" for v in event.verdicts)
    return "\n".join(said)[:TAG_LENGTH] or "–"


class Best:
    """The best of a search, as its trials ended: those that are run again are not chosen from."""

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
            if record.of is not None:
                continue
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
    seq, status = sweep_version(plan, ledger, closing, best.ends)
    whole = status == "FINISHED"
    tags = {
        "sweeper.sweep_id": str(plan["id"]),
        "sweeper.kind": "sweep",
        "sweeper.trials": str(plan["trials"]),
        **_confirmed(plan, ledger),
        "sweeper.state": ("completed" if whole else "interrupted") if closing else "running",
        "mlflow.note.content": _note(plan),
        **_made_with(plan),
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
            "full_protocol": str(plan["full_protocol_hash"]),
        },
        metrics=best.metrics[told:],
        tags=tags,
        document=("sweep.json", plan),
        inputs=_inputs(plan),
    )


def _made_with(plan: Mapping[str, Any]) -> dict[str, str]:
    """The code that ran, and where, as tags: those that MLflow has columns for are its own."""
    around = plan.get("environment", {})
    tags = {
        "mlflow.source.name": str(plan["command"]),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": str(around.get("commit") or ""),
        "sweeper.version": str(plan["version"]),
        "sweeper.environment": ", ".join(f"{k} {v}" for k, v in around.items() if v is not None),
        "sweeper.use": ", ".join(f"{u['name']} {u['sha256']}" for u in plan.get("use", ())),
    }
    return {name: text[:TAG_LENGTH] for name, text in tags.items() if text}


def _inputs(plan: Mapping[str, Any]) -> list[Input]:
    """What a run was trained on, and the protocols by which it was measured on the way and at its
    end, which MLflow has as data sets, too."""
    data, metric = plan["data"], str(plan["metric"])
    source = {"pick": data.get("pick", data["name"])}
    size = {"num_rows": data["examples"], "shape": data["shape"]}
    protocols = [
        Input(metric, str(plan[f"{kind}_hash"]), context, source, plan[kind])
        for kind, context in (("protocol", "evaluation"), ("full_protocol", "held out"))
    ]
    return [Input(str(data["name"]), str(data["digest"]), "training", source, size), *protocols]


def _confirmed(plan: Mapping[str, Any], ledger: Ledger) -> dict[str, str]:
    """What fresh seeds say of the best, as tags."""
    again = any(record.role == "confirm" for record in ledger.records)
    seeds = planned(plan).space.confirm.seeds
    fresh = confirmed(map(Told.tells, ledger.records), seeds) if again else None
    if fresh is None or not fresh.complete or fresh.best is None:
        return {}
    said = "\n".join(sentences(fresh, str(plan["metric"])))
    return {"sweeper.winner": str(fresh.best.number), "sweeper.confirmed": said[:TAG_LENGTH]}


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


def version_of(record: Record, closing: bool) -> tuple[int, str]:
    killed = closing and not record.ended
    seq = record.last.seq if record.last is not None else 0
    return seq, "KILLED" if killed else STATUS[record.state]


def sweep_version(
    plan: Mapping[str, Any], ledger: Ledger, closing: bool, ends: int | None = None
) -> tuple[int, str]:
    """Which trials ended, so many of them or all, and how the sweep stands."""
    ended = ledger.ends()[:ends]
    seq = ended[-1].last.seq if ended and ended[-1].last is not None else 0
    if not closing:
        return seq, "RUNNING"
    whole = len(ended) == len(ledger) and not any(planned(plan).ahead(ledger.records).values())
    return seq, "FINISHED" if whole else "KILLED"


def _better(plan: Mapping[str, Any]) -> Any:
    return min if plan["mode"] == "min" else max


def _name(plan: Mapping[str, Any], record: Record) -> str:
    """The number first and no hash, because the pages of MLflow cut a name after 25 letters."""
    if record.baseline is not None:
        return f"{record.name} {record.baseline}"[:NAME_LENGTH]
    text = record.name
    if record.of is not None:
        text += f" {record.role} of t{record.of:03d}"
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
            **{f"eval/{name}": value for name, value in event.data.get("metrics", {}).items()},
            **{f"loss/{name}": loss for name, loss in event.data.get("losses", {}).items()},
            "perf/images_per_second": event.data.get("images_per_second"),
            "sweep/rung": sum(come(plan, record.config, event.step) >= end for end in ends),
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
