"""Generators that a sweep has trained, as its checkpoints keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sweeper.catalog.datasets.store import Store
from sweeper.config import Trial
from sweeper.ledger.confirmed import Run, confirmed
from sweeper.ledger.ledger import Ledger, Record
from sweeper.space.source import InputError
from sweeper.sweep.agenda import planned
from sweeper.sweep.logs import plan_of
from sweeper.sweep.mirror import stored_data, with_data
from sweeper.sweep.plan import brought_before, check_inside
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import open_store
from sweeper.trial.portable import Plan, Sampler


@dataclass(frozen=True)
class Trained:
    """A trial that was measured, and the state of its newest sound checkpoint."""

    record: Record
    trial: Trial
    state: dict[str, Any]
    cache: Path

    def store(self) -> Store:
        """The examples it was trained on."""
        return open_store(self.trial.data, self.cache)

    def generator(self, store: Store) -> nn.Module:
        """Its generator as it was when it was best."""
        return self.sampler(store).generator

    def sampler(self, store: Store) -> Sampler:
        """The same with its prior, by itself."""
        return Plan.of(self.trial, store).sampler(self.state["best_generator"])


def trained(
    folder: Path, number: int | None = None, use: Sequence[Path] = (), n: int = 1
) -> list[Trained]:
    """The best ``n`` trials of a results folder, or the one of a number. Raises InputError where
    there is none, or one without a checkpoint."""
    records = records_of(folder)
    brought_before(folder, use)
    scored = {r.number: r for r in records if r.score is not None}
    if not scored or (number is not None and number not in scored):
        known = ", ".join(map(str, sorted(scored))) or "none"
        raise InputError([f"--trial is one that was measured ({known}), but got {number}"])
    chosen = ranked(records, folder)[:n] if number is None else [scored[number]]
    return [_kept(folder, record) for record in chosen]


def records_of(folder: Path) -> list[Record]:
    """All trials of a results folder. Raises InputError for a folder that is none."""
    if not (folder / "ledger.sqlite").is_file():
        raise InputError([f"a results folder holds ledger.sqlite, but {folder} does not"])
    check_inside(folder)
    ledger = Ledger(folder, write=False)
    try:
        return list(ledger.records)
    finally:
        ledger.close()


def ranked(records: Sequence[Record], folder: Path) -> list[Record]:
    """The trials that have a score, best first: as fresh seeds confirm them, then those that ran
    to the end. What is run again for another trial is not among them."""
    fresh = confirmed(map(Run.tells, records), planned(plan_of(folder)).space.confirm.seeds)
    place = fresh.places if fresh is not None else {}
    return sorted(
        (r for r in records if r.score is not None and r.of is None),
        key=lambda r: (place.get(r.number, len(place)), r.heldout is None, r.score),
    )


def _kept(folder: Path, record: Record) -> Trained:
    state = Checkpoints(folder / "trials" / f"{record.number:05d}" / "checkpoints").load()
    if state is None:
        law = "of a complete sweep only the best trials keep theirs"
        raise InputError([f"{record.name} has no checkpoint: {law}"])
    out = folder.resolve().parent
    trial = Trial.read(with_data(record.config, out / stored_data(folder)))
    return Trained(record, trial, state, out / ".cache")
