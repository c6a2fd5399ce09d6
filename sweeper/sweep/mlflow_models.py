"""Trained generators as models of MLflow, which torch runs by itself: without sweeper, its trainer
and its data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.ledger.confirmed import Run as Told
from sweeper.ledger.confirmed import merits
from sweeper.ledger.ledger import Ledger, Record
from sweeper.ledger.redact import hide
from sweeper.sweep import views
from sweeper.sweep.agenda import ordered, planned
from sweeper.sweep.graphs import write
from sweeper.sweep.mlflow_runs import Run, of_trial, sweep_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

BEST, BASELINE, FORMER = "best", "best baseline", "former best"
"""What a model is to its sweep. A sweep that goes on may find a better one."""

SECONDS = 15.0
"""What it may take to write a generator down; it is not begun with less time left."""


@dataclass
class Models:
    """Tells MLflow of the generators of a complete sweep: the best one's, and the best baseline's.

    One that cannot be written down leaves a line in ``warnings``, and is no longer lacking.
    """

    plan: Mapping[str, Any]
    ledger: Ledger
    folder: Path
    warnings: list[str] = field(default_factory=list)
    told: set[int] = field(default_factory=set)
    unfit: set[int] = field(default_factory=set)

    def lacking(self) -> dict[int, str]:
        """The trials whose generators MLflow lacks, and what they are to the sweep. None before it
        is complete; only those whose checkpoints are here."""
        if sweep_version(self.plan, self.ledger, True)[1] != "FINISHED":
            return {}
        known = self.told | self.unfit
        return {
            number: role
            for number, role in chosen(self.plan, self.ledger.records).items()
            if number not in known and any(_checkpoints(self.folder, number))
        }

    def tell(
        self,
        client: MlflowClient,
        experiment: str,
        runs: Mapping[str, str],
        left: Callable[[], float],
    ) -> None:
        """Tell what is lacking, while so many seconds are ``left``. ``runs`` are the ids of the
        trials' runs."""
        lacking = self.lacking()
        if not lacking:
            return
        held = dict(_held(client, experiment, str(self.plan["id"])))
        self._rename(client, held)
        for number, role in lacking.items():
            there = held.get(number)
            if there is None or there.status != "READY":
                if left() < SECONDS:
                    return
                run = of_trial(self.plan, self.folder, self.ledger[number], closing=True)
                self._send(client, experiment, runs[run.key], run, there, role)
            self.told.add(number)

    def _send(
        self,
        client: MlflowClient,
        experiment: str,
        run_id: str,
        run: Run,
        there: LoggedModel | None,
        role: str,
    ) -> None:
        """Write a generator down, and send it: it is ready once all of it is there."""
        number = int(run.key)
        with tempfile.TemporaryDirectory(prefix=".model-", dir=self.folder) as place:
            written = Path(place) / "model"
            try:
                about = write(self.folder, number, written)
            except Exception as error:  # whatever a technique does, the sweep ends well
                self.unfit.add(number)
                reason = hide(str(error)).strip().partition("\n")[0][:200]
                said = (
                    f"MLflow gets no generator of t{number:03d} ({type(error).__name__}: {reason})"
                )
                self.warnings.append(said)
                return
            model = there or client.create_logged_model(
                experiment,
                name=f"{self.plan['name']}_t{number:03d}".replace(".", "_"),
                source_run_id=run_id,
                tags={
                    "sweeper.sweep_id": str(self.plan["id"]),
                    "sweeper.trial": run.key,
                    "sweeper.is": role,
                    "sweeper.protocol": run.tags["sweeper.protocol"],
                    **about,
                },
                params={"run": run.name, **_params(self.plan, run)},
                model_type="generator",
            )
            client.log_model_artifacts(model.model_id, str(written))
        for metric in _metrics(self.plan, run):
            where = {"timestamp": metric.timestamp, "step": metric.step}
            client.log_metric(run_id, metric.key, metric.value, **where, model_id=model.model_id)
        _link(client, run_id, model.model_id, max(m.step for m in run.metrics))
        client.finalize_logged_model(model.model_id, "READY")

    def _rename(self, client: MlflowClient, held: Mapping[int, LoggedModel]) -> None:
        """Say of the models that are there what they are by now."""
        now = chosen(self.plan, self.ledger.records)
        for number, model in held.items():
            role = now.get(number, FORMER)
            if model.tags.get("sweeper.is") != role:
                client.set_logged_model_tags(model.model_id, {"sweeper.is": role})


def chosen(plan: Mapping[str, Any], records: Sequence[Record]) -> dict[int, str]:
    """The best trial of a search, and the best of its baselines."""
    order = ordered(records, planned(plan).space.confirm.seeds)
    known = merits(map(Told.tells, records))
    baselines = [number for number in known if records[number].baseline is not None]
    found = dict.fromkeys(order[:1], BEST)
    return found | dict.fromkeys(sorted(baselines, key=lambda n: (known[n], n))[:1], BASELINE)


def _checkpoints(folder: Path, number: int) -> Iterator[Path]:
    return (folder / "trials" / f"{number:05d}" / "checkpoints").glob("*.pt")


def _params(plan: Mapping[str, Any], run: Run) -> dict[str, str]:
    return {name: run.params[name] for name in views.short(plan).values() if name in run.params}


def _metrics(plan: Mapping[str, Any], run: Run) -> list[Any]:
    """What was measured of a generator last. The score is not: it may have been better before."""
    last = {m.key: m for m in run.metrics if m.key.startswith("eval/")}
    return [metric for key, metric in last.items() if key != views.score(plan)]


def _held(
    client: MlflowClient, experiment: str, sweep_id: str
) -> Iterator[tuple[int, LoggedModel]]:
    """The models that MLflow has of a sweep. One of two of a trial is removed: a request that timed
    out here can still have made it there."""
    query, token, seen = f"tags.`sweeper.sweep_id` = '{sweep_id}'", None, set[int]()
    while True:
        page = client.search_logged_models([experiment], query, page_token=token)
        for model in page:
            number = int(model.tags["sweeper.trial"])
            if number in seen:
                client.delete_logged_model(model.model_id)
            else:
                seen.add(number)
                yield number, model
        if not (token := page.token):
            return


def _link(client: MlflowClient, run_id: str, model_id: str, step: int) -> None:
    """Say that a run made a model, once."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in [made.model_id for made in outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
