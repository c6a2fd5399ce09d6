"""The best trials of a sweep, trained further: a sweep like any other, whose trials are given."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeper.ledger.ledger import Record
from sweeper.space.baselines import Baseline
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace, load
from sweeper.sweep.agenda import ordered
from sweeper.sweep.earlier import BEGUN, CHECKPOINT, Earlier, configured_apart, opened
from sweeper.sweep.plan import (
    Plan,
    Progress,
    brought_before,
    check_inside,
    check_protocols,
    new_name,
    resolve,
    silent,
)
from sweeper.trial.checkpoint import Checkpoints, read


@dataclass(frozen=True)
class Further:
    """Which trials of a results folder are to be trained further, and how far.

    ``budget`` is a number on the axis of the sweep's budget, or with an ``x`` behind it how many
    times the sweep's own; ``afresh`` begins with new weights, and not from the checkpoints.
    """

    folder: Path
    best: int
    budget: str
    afresh: bool = False
    name: str | None = None
    use: tuple[Path, ...] = ()


def further(asked: Further, progress: Progress = silent) -> Plan:
    """A plan of a sweep beside the folder, under its protocol, whose trials are its best ones.

    Nothing of it is stopped early or run again on other seeds. The checkpoints that trials start
    from are brought along. Raises InputError.
    """
    folder = asked.folder
    plain, records = opened(folder, "continue")
    check_inside(folder)
    used = brought_before(folder, asked.use)
    files = [folder / one.stored for one in used]
    chosen = best_of(records, plain, asked.best)
    out = folder.resolve().parent
    name = new_name(out, asked.name or f"{folder.resolve().name}-further")
    with emptied_on_failure(out / name) as made:
        space = load(folder / "resolved.yaml", use=files)
        settings = [settings_of(space, records, record) for record in chosen]
        if not asked.afresh:
            for one, record in zip(settings, chosen, strict=True):
                one[CHECKPOINT] = str(brought(folder, record, made))
        space = load(
            folder / "resolved.yaml",
            use=files,
            overrides=list(overridden(space, settings, asked.budget)),
        )
        plan = resolve(
            space,
            out,
            progress,
            name=name,
            trials=len(chosen),
            seed=int(plain["seed"]) + 1,
            use=used,
            earlier=Earlier(
                plain["id"],
                plain["name"],
                os.path.relpath(folder.resolve(), out),
                int(plain["seed"]),
                tuple(record.number for record in chosen),
                asked.afresh,
            ),
        )
        check_protocols(folder, plain, plan)
        return plan


def best_of(records: Sequence[Record], plain: Mapping[str, Any], n: int) -> list[Record]:
    """The best trials of a search: first those that fresh seeds confirm, by these, and then the
    others by their scores. Raises InputError when there is none."""
    order = ordered(records, int(plain.get("confirm", {}).get("seeds", 1)))
    if not order:
        law = "continue trains the best trials of a search further, but none came to a score"
        raise InputError([law])
    return [records[number] for number in order[:n]]


def settings_of(space: SearchSpace, records: Sequence[Record], record: Record) -> dict[str, Any]:
    """What a space sets to have the configuration of a trial of its search again. Raises
    InputError when it is another space than the trial's."""
    searched = [r.number for r in records if r.role == "search"]
    given = dict(zip(searched, space.given, strict=False)).get(record.number)
    # What was given may set more than what is searched.
    own = {} if given is None else {k: v for k, v in given.given.items() if k != CHECKPOINT}
    settings = own | record.params
    if apart := configured_apart(record.config, space.baseline(Baseline("", settings))[1]):
        raise InputError([f"{record.name} is not of the space that resolved.yaml holds: {apart}"])
    return settings


def overridden(
    space: SearchSpace, settings: Sequence[Mapping[str, Any]], budget: str
) -> Iterator[str]:
    """What differs from the space of the sweep that is continued, as ``--set`` has it."""
    trial = space.source.tree["trial"]
    path = "horizon_kimg" if "horizon_kimg" in trial else "budget.max"
    yield f"{path}={longer(trial.get('horizon_kimg', space.budget.max), budget)!r}"
    yield "budget.rungs=none"
    yield f"search.trials={len(settings)}"
    yield "search.seeds=1"
    yield "search.balanced=0"
    yield "confirm.top=0"
    yield "baselines=[]"
    yield f"given={json.dumps(list(settings))}"


def longer(own: float, budget: str) -> float:
    """A budget as it was asked for: a number, or so many times a sweep's own. Raises
    InputError."""
    number, times = (budget[:-1], own) if budget.endswith("x") else (budget, 1.0)
    try:
        found = float(number) * times
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        law = "--budget is a number as in budget.max, or as 10x how many times the sweep's own"
        raise InputError([f"{law}, but got {budget!r}"])
    return found


def brought(folder: Path, record: Record, into: Path) -> Path:
    """The newest sound checkpoint of a trial, in the folder of the sweep that starts from it.
    Raises InputError when it has none."""
    number = f"{record.number:05d}"
    for path in Checkpoints(folder / "trials" / number / "checkpoints").paths():
        try:
            read(path)
        except (OSError, ValueError):
            continue
        target = into / BEGUN / number / path.name
        target.parent.mkdir(parents=True)
        shutil.copyfile(path, target)
        return target.parent
    law = "of a complete sweep only the best trials keep their checkpoints"
    hint = "--afresh begins with new weights"
    raise InputError([f"{record.name} of {folder} has no checkpoint: {law}; {hint}"])


@contextmanager
def emptied_on_failure(folder: Path) -> Iterator[Path]:
    """A folder for a sweep that is being made, which is gone if that fails."""
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
