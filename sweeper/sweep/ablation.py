"""Ablating a sweep: the winner with each of its choices taken back in turn, on fresh seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from sweeper.config import Misfit
from sweeper.ledger.confirmed import Run, confirmed
from sweeper.ledger.ledger import Ledger, Record
from sweeper.registry import nearest
from sweeper.space.ablation import NOTHING, choices, taken_back
from sweeper.space.baselines import Baseline
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace
from sweeper.sweep.agenda import Ablation, best
from sweeper.sweep.plan import Plan


def ablating(
    plan: Plan, seeds: int, to: str | None, trial: str | None, say: Callable[[str], None]
) -> Plan:
    """A complete sweep's plan with an ablation of its winner, or of a ``trial``, to the first of
    its baselines, or that of a name. ``say`` is told which choices cannot be taken back alone.

    Raises InputError when the sweep is not complete, or there is nothing to take back.
    """
    ledger = Ledger(plan.folder, write=False)
    try:
        records = ledger.records
    finally:
        ledger.close()
    shown = os.path.relpath(plan.folder)
    open_trials = any(not r.ended for r in records if r.role != "ablation")
    if open_trials or replace(plan.agenda, ablation=None).due(records):
        law = "an ablation is made around the winner of a complete sweep, but this one is not"
        raise InputError([f"{shown}: {law}: sweeper resume {shown}"])
    chosen, baseline = _chosen(records, trial, shown), _baseline(plan.space, to, shown)
    if not _drawn(plan.space, chosen, baseline):
        law = "an ablation takes back what was drawn"
        raise InputError([f"{shown}: {law}, but {chosen.name} was begun from another trial"])
    paths = _possible(plan, chosen, baseline, say)
    if not paths:
        law = "an ablation takes choices back to a baseline"
        raise InputError([f"{shown}: {law}, but {chosen.name} has none other than its"])
    return replace(plan, ablation=_planned(plan, records, chosen, baseline.name, paths, seeds))


def winner(records: Sequence[Record]) -> int | None:
    """The trial of the search that is best on fresh seeds, else by its score."""
    found = confirmed(map(Run.tells, records), 2)
    searched = [c for c in found.order if c.baseline is None and c.values] if found else []
    if searched:
        return searched[0].number
    return next(iter(best(records, 1)), None)


def _chosen(records: Sequence[Record], trial: str | None, shown: str) -> Record:
    if trial is None:
        number = winner(records)
        if number is None:
            raise InputError([f"{shown}: a winner has a score, but no trial of the search has one"])
        return records[number]
    named = {record.name: record for record in records if record.of is None}
    if trial not in named:
        law = "--trial is a trial of the search, such as t003"
        raise InputError([f"{law}, but got {trial}"])
    return named[trial]


def _baseline(space: SearchSpace, to: str | None, shown: str) -> Baseline:
    known = {baseline.name: baseline for baseline in space.baselines}
    if not known:
        raise InputError([f"{shown}: an ablation takes choices back to a baseline: it has none"])
    if to is None:
        return space.baselines[0]
    if to not in known:
        hint = nearest(to, known)
        law = f"--to is a baseline of the sweep, but got {to!r}"
        raise InputError([law + (f"; did you mean {hint!r}?" if hint else "")])
    return known[to]


def _drawn(space: SearchSpace, chosen: Record, baseline: Baseline) -> bool:
    """Whether a trial is what its parameters make."""
    again = taken_back(space, chosen.params, baseline, NOTHING)[1].plain()
    plain: dict[str, object] = json.loads(json.dumps(again))
    return {**plain, "seed": None} == {**chosen.config, "seed": None}


def _possible(
    plan: Plan, chosen: Record, baseline: Baseline, say: Callable[[str], None]
) -> list[str]:
    """The choices that can be taken back alone."""
    found = []
    for path in choices(plan.space, chosen.params, baseline):
        try:
            plan.probe(taken_back(plan.space, chosen.params, baseline, path)[1])
        except Misfit as misfit:
            say(f"{path} cannot be taken back alone: {misfit}")
            continue
        found.append(path)
    return found


def _planned(
    plan: Plan,
    records: Sequence[Record],
    chosen: Record,
    baseline: str,
    paths: Sequence[str],
    seeds: int,
) -> Ablation:
    """The ablation before, on more seeds, where it is of the same; else one after all others."""
    before = plan.ablation
    same = before is not None and (before.of, before.baseline) == (chosen.number, baseline)
    if before is not None and same and [p for p in before.paths if p != NOTHING] == list(paths):
        return replace(before, seeds=max(seeds, before.seeds))
    fresh = sum(r.role == "confirm" and r.of == chosen.number for r in records)
    again = () if fresh >= seeds else (NOTHING,)
    since = sum(r.role == "ablation" for r in records)
    return Ablation(chosen.number, baseline, seeds, (*again, *paths), since)
