"""A sweep, resolved before anything starts: the space with its data, the protocol, the rungs, the
results folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML

import sweeper
from sweeper.catalog.datasets.choose import source_for
from sweeper.catalog.datasets.store import Store
from sweeper.config import Misfit, Problem, Trial, over, show
from sweeper.ledger.come import come
from sweeper.ledger.ledger import LedgerError, Record
from sweeper.ledger.links import check_links
from sweeper.ledger.redact import hide
from sweeper.protocol import Protocol, differences
from sweeper.space.axis import images_of
from sweeper.space.brought import note
from sweeper.space.holes import Fixed, fill, settle
from sweeper.space.listing import references
from sweeper.space.source import InputError, Source, read
from sweeper.space.space import SearchSpace, data_of, load, shipped
from sweeper.space.use import Used, bring, keep, kept
from sweeper.space.use import read as read_use
from sweeper.sweep.agenda import Ablation, Agenda
from sweeper.sweep.derive import derived
from sweeper.sweep.earlier import Earlier, at_home, known_from
from sweeper.sweep.earlier import kept as kept_earlier
from sweeper.sweep.environment import environment
from sweeper.sweep.proposer import random_study
from sweeper.sweep.rungs import Plateau, rungs_of
from sweeper.trial.device import choose_device
from sweeper.trial.evaluate import Evaluator
from sweeper.trial.loop import open_store
from sweeper.trial.networks import probe

DRAWS = 100

Progress = Callable[[str, int, int], None]
"""Told what long work is under way, how much of it is done, and how much there is."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line."""

    space: Path
    data: str | None = None
    overrides: tuple[str, ...] = ()
    trials: int | None = None
    seed: int | None = None
    name: str | None = None
    out: Path = Path("results")
    use: tuple[Path, ...] = ()
    earlier: Path | None = None


@dataclass(frozen=True)
class Plan:
    """Everything a sweep is, before its first trial."""

    id: str
    name: str
    out: Path
    space: SearchSpace
    data: dict[str, Any]
    store: Store
    metric: str
    protocol: Protocol
    full_protocol: Protocol
    horizon: int
    every: int
    rungs: tuple[int, ...]
    trials: int
    seed: int
    created: float
    command: str
    filled: tuple[str, ...] = ()
    rejected: dict[str, int] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    written: str = ""
    file: str = ""
    """The path of the space, as it was typed."""
    use: tuple[Used, ...] = ()
    earlier: Earlier | None = None
    ablation: Ablation | None = None

    @property
    def agenda(self) -> Agenda:
        return Agenda(self.space, self.trials, self.ablation)

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def cache(self) -> Path:
        return self.out / ".cache"

    @property
    def shown(self) -> Sequence[Record]:
        """The trials of an earlier sweep that the sampler is shown."""
        return self.earlier.records(self.horizon) if self.earlier else ()

    def place(self, record: Record, images: int) -> int:
        """How far so many images bring a trial on the axis of the budget, in images of one whose
        horizon is the plan's."""
        about = {"axis": self.space.budget.axis, "horizon_kimg": self.horizon / 1000}
        return come(about, record.config, images)

    @property
    def factor(self) -> int:
        rungs = self.space.budget.rungs
        return rungs.factor if rungs else 1

    @property
    def plateau(self) -> Plateau | None:
        rungs = self.space.budget.rungs
        found = rungs.plateau if rungs else None
        return Plateau(found.patience, found.tolerance) if found else None

    def probe(self, trial: Trial) -> None:
        """Raise Misfit when a trial's networks cannot be built for this data, or so many ranks
        cannot train it."""
        over(trial, self.space.resources.processes)
        probe(trial, self.store.meta.shape, self.store.meta.known)

    def plain(self) -> dict[str, Any]:
        """What ``sweep.json`` holds: all that the report, the tracker and the live view need to
        know."""
        return {
            "version": sweeper.__version__,
            "id": self.id,
            "name": self.name,
            "space": self.space.name,
            "file": self.file,
            "data": {
                "name": self.store.meta.name,
                "examples": len(self.store),
                "shape": list(self.store.meta.shape),
                "digest": self.store.meta.digest,
                "pick": self.data,
                "store": os.path.relpath(self.store.path.resolve(), self.out),
            },
            "metric": self.metric,
            "mode": "min",
            "protocol": self.protocol.plain(),
            "protocol_hash": self.protocol.hash,
            "full_protocol": self.full_protocol.plain(),
            "full_protocol_hash": self.full_protocol.hash,
            "horizon_kimg": self.horizon / 1000,
            "every_kimg": self.every / 1000,
            "axis": self.space.budget.axis,
            "rungs": list(self.rungs),
            "factor": self.factor,
            "by": self.space.brackets,
            "plateau": asdict(self.plateau) if self.plateau else None,
            "trials": self.trials,
            "runs": self.agenda.runs,
            "confirm": self.space.confirm.model_dump(),
            "ablation": asdict(self.ablation) if self.ablation else None,
            "seed": self.seed,
            "seeds": self.space.search.seeds,
            "method": self.space.search.method,
            "parameters": self.space.parameters,
            "baselines": [b.name for b in self.space.baselines],
            "published": [entry.model_dump() for entry in self.space.published],
            "use": [used.plain() for used in self.use],
            "from": self.earlier.plain() if self.earlier else None,
            "papers": references(self.space),
            "environment": environment(),
            "created": self.created,
            "command": self.command,
        }

    def write(self, also: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Lay down the results folder: the space as written, the space resolved, and the plan.

        ``also`` is what else stands in ``sweep.json``: how it is run, which a plan does not know.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.written:
            (self.folder / "space.yaml").write_text(self.written)
        keep(self.use, self.folder)
        if self.earlier:
            self.earlier.write(self.folder)
        tree = {k: v for k, v in self.space.source.tree.items() if k != "use"}
        if self.use:
            tree["use"] = [used.stored for used in self.use]
        with (self.folder / "resolved.yaml").open("w") as file:
            YAML(typ="safe").dump(tree, file)
        draft = self.folder / f"sweep.json.{os.getpid()}.tmp"
        draft.write_text(json.dumps({**self.plain(), **also}, indent=2))
        draft.replace(self.folder / "sweep.json")
        note(self.folder, ["sweep.json"])


def choose_data(name: str, start: Path) -> dict[str, Any]:
    """The data set that a word on the command line stands for. Raises InputError."""
    try:
        return source_for(name, start)
    except ValueError as error:
        raise InputError([str(error)]) from None


def preset_of(data: Any) -> Source:
    """The preset of a data set as a trial names it, shipped or derived: sizes, budget, protocol."""
    name = next(iter(data), "") if isinstance(data, Mapping) else data
    own = shipped() / "data" / f"{name}.yaml"
    return read(own) if own.is_file() else derived(data)


def prepare(settings: Settings, progress: Progress = silent) -> Plan:
    """Resolve a sweep: pack the data, train the features, fit the reference, and see that draws
    fit.

    Raises InputError with everything that is wrong, before anything is started.
    """
    use = bring(settings.use)
    space, preset = space_of(settings)
    out = settings.out.resolve()
    check_writable(out)
    plan = resolve(
        space,
        out,
        progress,
        name=new_name(out, settings.name or space.name),
        trials=settings.trials or space.search.trials,
        seed=space.search.seed if settings.seed is None else settings.seed,
        filled=tuple(describe_preset(preset, space)),
        written=settings.space.read_text(encoding="utf-8"),
        file=str(settings.space),
        use=use,
    )
    if settings.earlier:
        protocol = plan.protocol.plain()
        earlier = known_from(settings.earlier, space, protocol, plan.horizon, out)
        plan = replace(plan, earlier=earlier)
        if settings.seed is None:
            plan = replace(plan, seed=earlier.seed + 1)
    plan.rejected.update(check_draws(plan))
    return plan


def space_of(settings: Settings) -> tuple[SearchSpace, Source]:
    """The space upon the preset of its data, and that: of ``--data``, else of what the file names,
    else of digits. Raises InputError."""
    named = None if settings.data else data_of(settings.space)
    given = None if named else choose_data(settings.data or "digits", Path())
    preset = preset_of(given or named)
    space = load(
        settings.space,
        preset=preset,
        overrides=settings.overrides,
        data=given,
        use=settings.use,
    )
    return space, preset


def open_data(space: SearchSpace, out: Path, progress: Progress) -> Store:
    trial = plainest(space)
    try:
        return open_store(
            trial.data, out / ".cache", lambda done, total: progress("packing images", done, total)
        )
    except (ValueError, OSError) as error:
        raise InputError([f"--data: {error}"]) from None


def plainest(space: SearchSpace) -> Trial:
    """A trial of the space with everything at its plainest, valid or not as a whole."""
    tree = settle(fill(space.tree, Fixed(space.tree, {})))
    minimal = {
        **{
            k: tree[k]
            for k in ("data", "prior", "batch", "horizon_kimg", "evaluation")
            if k in tree
        },
        "architecture": "mlp_gan",
        "generator": {"normalization": "none", "optimizer": "adam"},
        "discriminator": {"normalization": "none", "optimizer": "adam"},
        "loss": "non_saturating",
        "schedule": "alternating_update",
    }
    return Trial.read(minimal)


def resolve(
    space: SearchSpace,
    out: Path,
    progress: Progress,
    *,
    name: str,
    trials: int,
    seed: int,
    filled: tuple[str, ...] = (),
    written: str = "",
    file: str = "",
    id: str | None = None,
    created: float | None = None,
    command: str | None = None,
    use: tuple[Used, ...] = (),
    earlier: Earlier | None = None,
) -> Plan:
    """A plan from a space whose data is chosen."""
    store, trial = open_data(space, out, progress), plainest(space)
    evaluator = Evaluator(
        trial.evaluation,
        trial.data,
        store,
        out / ".cache",
        choose_device(),
        lambda d, t: progress("training the classifier", d, t),
    )
    evaluator.prepare()
    unit = images_of(space.budget.axis, trial)
    horizon, every = round(trial.horizon_kimg * unit), round(trial.evaluation.every_kimg * unit)
    rungs = space.budget.rungs
    return Plan(
        id=id or uuid.uuid4().hex[:12],
        name=name,
        out=out,
        space=space,
        data=trial.plain()["data"],
        store=store,
        metric=evaluator.metric,
        protocol=evaluator.protocol,
        full_protocol=evaluator.full_protocol,
        horizon=horizon,
        every=every,
        rungs=rungs_of(horizon, every, rungs.begins(trial.horizon_kimg), rungs.factor)
        if rungs
        else (),
        trials=space.at_most(trials),
        seed=seed,
        created=created or time.time(),
        command=command or hide(shlex.join(["sweeper", *sys.argv[1:]])),
        filled=filled,
        written=written,
        file=file,
        use=use,
        earlier=earlier,
    )


def reopen(
    folder: Path, trials: int | None, progress: Progress = silent, use: Sequence[Path] = ()
) -> Plan:
    """The plan of a results folder, for going on with it. Files that ``use`` names must be those
    that it began with. Raises InputError when it is not one."""
    file = folder / "sweep.json"
    if not file.is_file():
        raise InputError(
            [f"resume takes a results folder, which holds sweep.json, but {folder} does not"]
        )
    check_inside(folder)
    used = brought_before(folder, use)
    check_same(folder, used, use)
    space = load(folder / "resolved.yaml", use=[folder / u.stored for u in used])
    try:
        plain = json.loads(file.read_text())
        same = plain["parameters"] == json.loads(json.dumps(space.parameters))
        if not re.fullmatch("[0-9a-f]{12}", plain["id"]):  # it is part of paths
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise InputError([f"{file}: this is not what sweeper wrote there"]) from None
    if not same:
        law = "a sweep has one search space, but resolved.yaml is not the one that it began with"
        raise InputError([f"{folder}: {law}"])
    plan = resolve(
        at_home(space, folder),
        folder.resolve().parent,
        progress,
        name=folder.resolve().name,
        trials=trials or plain["trials"],
        seed=plain["seed"],
        id=plain["id"],
        created=plain["created"],
        command=plain["command"],
        file=plain.get("file", ""),
        use=used,
        earlier=kept_earlier(folder),
    )
    check_protocols(folder, plain, plan)
    return replace(plan, ablation=Ablation.read(plain))


def check_protocols(folder: Path, plain: Mapping[str, Any], plan: Plan) -> None:
    """Raise InputError where a results folder would go on under another protocol than its own."""
    for now, was in ((plan.protocol, "protocol"), (plan.full_protocol, "full_protocol")):
        if changed := differences(plain.get(was, {}), now.plain()):
            law = "a sweep has one evaluation protocol, but this changed since it began"
            raise InputError([f"{folder}: {law}: {changed}"])


def check_inside(folder: Path) -> None:
    """Raise InputError if a results folder, which may be a stranger's, leads out of itself."""
    try:
        check_links(folder)
    except LedgerError as error:
        raise InputError([str(error)]) from None


def brought_before(folder: Path, named: Sequence[Path] = ()) -> tuple[Used, ...]:
    """The files of techniques that a results folder was made with, brought again, if they were put
    there on this machine or are ``named`` now. Raises InputError."""
    file = folder / "sweep.json"
    try:
        return kept(folder, json.loads(file.read_text()).get("use", []), named)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError([f"{file}: this is not what sweeper wrote there"]) from None


def check_same(folder: Path, used: Sequence[Used], given: Sequence[Path]) -> None:
    """Refuse files of techniques that a sweep did not begin with."""
    known = {u.sha256 for u in used}
    for path in given:
        if read_use(path).sha256 not in known:
            law = "a sweep goes on with the techniques that it began with, but it did not begin"
            raise InputError([f"{folder}: {law} with {path} as it is now"])


def check_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            [f"--out is a folder that can be written to, but {out}: {error.strerror}"]
        ) from None


def new_name(out: Path, wanted: str) -> str:
    """The name, or the first of name-2, name-3, … that no folder has."""
    if not wanted or wanted != Path(wanted).name or wanted.startswith("."):
        raise InputError([f"a sweep's name is the name of a folder, but got {wanted!r}"])
    numbered = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, 100_000))
    return next(name for name in numbered if not os.path.lexists(out / name))


def describe_preset(preset: Source, space: SearchSpace) -> list[str]:
    """What the data's preset fills in, a line each, and whether it was written or derived. What
    the space, or what it extends, says in its place is left out."""
    whole = flat(space.source.tree)
    how = "from the data's preset" if preset.marks else "derived from the data"
    return [
        f"{path.removeprefix('trial.')}: {show(value)}  ({how})"
        for path, value in flat(preset.tree).items()
        if whole.get(path) == value
    ]


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """The leaves of plain data, by dotted path."""
    if isinstance(node, dict) and node:
        deeper = (flat(v, f"{path}.{k}".lstrip(".")) for k, v in node.items())
        return {found: value for leaves in deeper for found, value in leaves.items()}
    return {path: node}


def check_draws(plan: Plan) -> dict[str, int]:
    """Try many draws: how often each law was broken. What draws that fit are warned of is counted
    in the plan. Raises InputError when none of them fits."""
    study, broken, misfits = (
        random_study(0),
        dict[str, int](),
        list[Problem](),
    )
    for i, baseline in enumerate(plan.space.baselines):
        try:
            plan.probe(plan.space.baseline(baseline)[1])
        except Misfit as misfit:
            problem = Problem(("baselines", i), f"{baseline.name!r} is no trial: {misfit}")
            raise InputError([plan.space.fault(problem)]) from None
    fitting = 0
    for _ in range(DRAWS):
        try:
            trial = plan.space.sample(study.ask())
            plan.probe(trial)
            fitting += 1
            for warning in trial.warnings():
                plan.warned[warning.law] = plan.warned.get(warning.law, 0) + 1
        except Misfit as misfit:
            for problem in misfit.problems:
                broken[problem.law] = broken.get(problem.law, 0) + 1
                misfits.append(problem)
    if not fitting:
        every = {problem.law: problem for problem in reversed(misfits)}
        raise InputError(
            [
                f"none of {DRAWS} draws from this space fits together:",
                *(
                    plan.space.fault(every[law])
                    for law in sorted(every, key=lambda law: -broken[law])
                ),
            ]
        )
    return broken


def some_draws(plan: Plan, n: int) -> Sequence[tuple[dict[str, Any], Trial]]:
    """Sample draws that fit, for a dry run."""
    study, found = (
        random_study(plan.seed),
        list[tuple[dict[str, Any], Trial]](),
    )
    for _ in range(DRAWS):
        asked = study.ask()
        try:
            trial = plan.space.sample(asked)
            plan.probe(trial)
        except Misfit:
            continue
        found.append((dict(asked.params), trial))
        if len(found) == n:
            break
    return found
