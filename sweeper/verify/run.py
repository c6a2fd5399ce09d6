"""The conformance suite: closed forms where a technique has some, and the contracts of all
others."""

from __future__ import annotations

import json
import math
import os
import pkgutil
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import torch

import sweeper.verify
from sweeper.catalog.aliases import ALIASES, Alias
from sweeper.space.listing import entries, found
from sweeper.space.source import InputError
from sweeper.space.use import Used
from sweeper.verify.claims import CHECKS, Check, Claim
from sweeper.verify.contracts import bases, cases, claims

for _module in pkgutil.iter_modules(sweeper.verify.__path__):
    if _module.name not in ("run", "science"):
        import_module(f"{sweeper.verify.__name__}.{_module.name}")

FEW = 2
"""Tasks that are not worth other processes."""

WIDEST = 32
"""Of the column of names."""


@dataclass(frozen=True)
class Task:
    """Some claims about some techniques: of the ``index``-th check of the first, or those of a
    place where it stands."""

    techniques: tuple[str, ...]
    index: int = -1
    place: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim about a technique, and what came of it; or why nothing did."""

    technique: str
    claim: Claim | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.claim is not None and self.claim.ok


@dataclass(frozen=True)
class Suite:
    """What there is to check, and the techniques of which nothing is known to check."""

    tasks: tuple[Task, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How wide a column for their names is."""
        names = [len(", ".join(task.techniques)) for task in self.tasks]
        return min(WIDEST, max([len("technique"), *names]))


def suite(names: Sequence[str] = ()) -> Suite:
    """The checks of some techniques, or of all. Raises InputError for a name that is not known."""
    wanted = list(dict.fromkeys(map(known, names)))
    techniques = {entry.name: entry for entry in entries()}
    shared: dict[Check, list[str]] = {}
    for technique, checks in CHECKS.items():
        for each in checks:
            shared.setdefault(each, []).append(technique)
    chosen = wanted or sorted(techniques.keys() | CHECKS.keys())
    tasks = dict[Task, None]()
    for name in chosen:
        for each in CHECKS.get(name, []):
            of = tuple(shared[each])
            tasks[Task(of, CHECKS[of[0]].index(each))] = None
        if name in techniques and (name not in CHECKS or not techniques[name].shipped):
            for case in cases():
                if case.entry.name == name:
                    tasks[Task((name,), place=str(case))] = None
    checked = {name for task in tasks for name in task.techniques}
    return Suite(tuple(tasks), tuple(name for name in chosen if name not in checked))


def known(name: str) -> str:
    """A name that has checks or is a technique. Raises InputError for any other."""
    if name not in CHECKS and isinstance(found(name)[0], Alias):
        where = ", ".join(ALIASES[name].paths)
        raise InputError([f"{name} is {where}, which has no checks of its own"])
    return name


def verify(plan: Suite, use: Sequence[Used] = ()) -> Iterator[Finding]:
    """Do all checks, in order, on as many cores as there are. A check that raises is a finding."""
    with tempfile.TemporaryDirectory(prefix="sweeper-verify-") as folder:
        cache = Path(folder)
        if any(task.place for task in plan.tasks):
            bases(cache)
        workers = min(cores(), len(plan.tasks))
        if workers < FEW or len(plan.tasks) <= FEW:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                for task in plan.tasks:
                    yield from perform(task, cache)
            finally:
                torch.set_num_threads(threads)
            return
        sources = [(used.name, used.source) for used in use]
        with ProcessPoolExecutor(workers, get_context("spawn"), ready, (sources,)) as pool:
            try:
                for findings in pool.map(perform, plan.tasks, [cache] * len(plan.tasks)):
                    yield from findings
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def heading(plan: Suite) -> str:
    """The head of the table that the lines of a suite make."""
    columns = f"{'measured':>12}  {'expected':>12}  what was checked"
    return f"      {'technique':{plan.width}}  {columns}"


def line(finding: Finding, plan: Suite) -> str:
    """What came of one claim."""
    mark, name = "ok" if finding.ok else "MISS", f"{finding.technique:{plan.width}}"
    if finding.claim is None:
        return f"{mark:4}  {name}  {finding.error}"
    claim = finding.claim
    return f"{mark:4}  {name}  {claim.measured:>12.6g}  {claim.expected:>12.6g}  {claim.what}"


def as_json(finding: Finding) -> str:
    """What came of one claim, for machines."""
    claim = finding.claim
    held = {} if claim is None else {key: plain(value) for key, value in asdict(claim).items()}
    head = {"schema": 1, "event": "claim", "techniques": finding.technique.split(", ")}
    return json.dumps({**head, **held, "ok": finding.ok, "error": finding.error or None})


def plain(value: object) -> object:
    """The same, as text where JSON has no number for it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def summary(plan: Suite, findings: Sequence[Finding]) -> Iterator[str]:
    """What came of a suite, in words."""
    names = {name for task in plan.tasks for name in task.techniques}
    missed = sum(not finding.ok for finding in findings)
    about = f"{len(findings)} claims about {len(names)} techniques"
    yield f"{missed} of {about} missed" if missed else f"all {about} hold"
    if plan.unchecked:
        yield f"there is nothing to check of {', '.join(plan.unchecked)}"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ready(sources: Sequence[tuple[str, str]]) -> None:
    """Ready a worker: one thread, and the user's own techniques."""
    torch.set_num_threads(1)
    for name, source in sources:
        Used(name, source).load()


def perform(task: Task, cache: Path) -> list[Finding]:
    """Do one check."""
    label = ", ".join(task.techniques)
    done = list[Finding]()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for claim in claims_of(task, cache):
                done.append(Finding(label, claim))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{frame.filename}:{frame.lineno}"
        told = f"{task.place or 'its check'}: {type(error).__name__}: {error} ({where})"
        done.append(Finding(label, error=told))
    return done


def claims_of(task: Task, cache: Path) -> Iterator[Claim]:
    if task.place:
        (case,) = (case for case in cases() if str(case) == task.place)
        return claims(case, cache)
    return CHECKS[task.techniques[0]][task.index]()
