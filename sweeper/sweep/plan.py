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
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML

import sweeper
from sweeper.catalog import families as of
from sweeper.catalog.datasets.store import Store
from sweeper.config import Misfit, Problem, Trial, over
from sweeper.ledger.ledger import LedgerError
from sweeper.ledger.links import check_links
from sweeper.ledger.redact import hide
from sweeper.registry import nearest
from sweeper.space.holes import Fixed, fill, settle
from sweeper.space.source import InputError, Source, read
from sweeper.space.space import SearchSpace, data_of, load, shipped
from sweeper.space.use import Used, bring, keep, kept
from sweeper.space.use import read as read_use
from sweeper.sweep.proposer import random_study
from sweeper.sweep.rungs import rungs_of
from sweeper.trial.assemble import probe
from sweeper.trial.device import choose_device
from sweeper.trial.evaluate import Evaluator
from sweeper.trial.loop import open_store

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
    protocol: dict[str, Any]
    protocol_hash: str
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
    use: tuple[Used, ...] = ()

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def cache(self) -> Path:
        return self.out / ".cache"

    @property
    def factor(self) -> int:
        return self.space.budget.rungs.factor

    def probe(self, trial: Trial) -> None:
        """Raise Misfit when a trial's networks cannot be built for this data, or so many ranks
        cannot train it."""
        over(trial, self.space.resources.processes)
        probe(trial, self.store.meta.shape, self.store.meta.classes)

    def plain(self) -> dict[str, Any]:
        """What ``sweep.json`` holds: all that the report, the tracker and the live view need to
        know."""
        return {
            "version": sweeper.__version__,
            "id": self.id,
            "name": self.name,
            "space": self.space.name,
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
            "protocol": self.protocol,
            "protocol_hash": self.protocol_hash,
            "horizon_kimg": self.horizon / 1000,
            "every_kimg": self.every / 1000,
            "rungs": list(self.rungs),
            "factor": self.factor,
            "trials": self.trials,
            "seed": self.seed,
            "method": self.space.search.method,
            "parameters": self.space.parameters,
            "baselines": [b.name for b in self.space.baselines],
            "use": [used.plain() for used in self.use],
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
        tree = {k: v for k, v in self.space.source.tree.items() if k != "use"}
        if self.use:
            tree["use"] = [used.stored for used in self.use]
        with (self.folder / "resolved.yaml").open("w") as file:
            YAML(typ="safe").dump(tree, file)
        draft = self.folder / f"sweep.json.{os.getpid()}.tmp"
        draft.write_text(json.dumps({**self.plain(), **also}, indent=2))
        draft.replace(self.folder / "sweep.json")


def choose_data(name: str, start: Path) -> dict[str, Any]:
    """The data set that a word on the command line stands for: a name, a packed store, or a folder
    of images."""
    if name in of.datasets and not list(start.glob(f"{name}/*")):
        return {name: {}}
    path = (start / name).expanduser()
    if (path / "meta.json").is_file() and (path / "data.mdb").is_file():
        return {"packed": {"path": str(path.resolve())}}
    if path.is_dir():
        return {"folder": {"path": str(path.resolve())}}
    known = [n for n in of.datasets if n not in ("folder", "packed")]
    hint = f"; did you mean {close!r}?" if (close := nearest(name, known)) else ""
    raise InputError(
        [
            f"--data is {', '.join(known)}, a folder of images or a packed store, "
            f"but got {name!r}{hint}"
        ]
    )


def preset_of(data: Any) -> Source:
    """The preset of a data set as a trial names it: sizes, budget and protocol."""
    name = next(iter(data), "") if isinstance(data, Mapping) else data
    own = shipped() / "data" / f"{name}.yaml"
    return read(own if own.is_file() else shipped() / "data" / "folder.yaml")


def prepare(settings: Settings, progress: Progress = silent) -> Plan:
    """Resolve a sweep: pack the data, train the features, fit the reference, and see that draws
    fit.

    Raises InputError with everything that is wrong, before anything is started.
    """
    use = bring(settings.use)
    read = reader(settings)
    space, preset = read(settings.overrides)
    out = settings.out.resolve()
    check_writable(out)
    space = with_features(space, settings, read, out, progress)
    plan = resolve(
        space,
        out,
        progress,
        name=new_name(out, settings.name or space.name),
        trials=settings.trials or space.search.trials,
        seed=space.search.seed if settings.seed is None else settings.seed,
        filled=tuple(describe_preset(preset)),
        written=settings.space.read_text(encoding="utf-8"),
        use=use,
    )
    plan.rejected.update(check_draws(plan))
    return plan


Read = Callable[[Sequence[str]], tuple[SearchSpace, Source]]


def reader(settings: Settings) -> Read:
    """What reads the space, with overrides, upon the preset of its data: that of ``--data``, else
    what the file names, else digits. Raises InputError."""
    named = None if settings.data else data_of(settings.space)
    given = None if named else choose_data(settings.data or "digits", Path())
    preset = preset_of(given or named)

    def read(overrides: Sequence[str]) -> tuple[SearchSpace, Source]:
        space = load(
            settings.space, preset=preset, overrides=overrides, data=given, use=settings.use
        )
        return space, preset

    return read


def with_features(
    space: SearchSpace, settings: Settings, read: Read, out: Path, progress: Progress
) -> SearchSpace:
    """Without labels there is no classifier to take features from: such data is measured in random
    ones."""
    if "features" in space.source.tree["trial"].get("evaluation", {}):
        return space
    store = open_data(space, out, progress)
    kind = "classifier" if store.meta.classes > 1 else "random"
    return read((f"evaluation.features={kind}", *settings.overrides))[0]


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
    id: str | None = None,
    created: float | None = None,
    command: str | None = None,
    use: tuple[Used, ...] = (),
) -> Plan:
    """A plan from a space whose data is chosen."""
    store, trial = open_data(space, out, progress), plainest(space)
    evaluator = Evaluator(
        trial,
        store,
        out / ".cache",
        choose_device(),
        lambda d, t: progress("training the classifier", d, t),
    )
    horizon, every = round(trial.horizon_kimg * 1000), round(trial.evaluation.every_kimg * 1000)
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
        protocol_hash=evaluator.protocol_hash,
        horizon=horizon,
        every=every,
        rungs=rungs_of(horizon, every, rungs.first, rungs.factor),
        trials=trials,
        seed=seed,
        created=created or time.time(),
        command=command or hide(shlex.join(["sweeper", *sys.argv[1:]])),
        filled=filled,
        written=written,
        use=use,
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
        space,
        folder.resolve().parent,
        progress,
        name=folder.resolve().name,
        trials=trials or plain["trials"],
        seed=plain["seed"],
        id=plain["id"],
        created=plain["created"],
        command=plain["command"],
        use=used,
    )
    if plan.protocol_hash != plain["protocol_hash"]:
        was, now = plain["protocol"], plan.protocol
        changed = ", ".join(k for k in now if was.get(k) != now[k])
        raise InputError(
            [f"{folder}: a sweep has one evaluation protocol, but {changed} changed since it began"]
        )
    return plan


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


def describe_preset(preset: Source) -> list[str]:
    """What the data's preset fills in, a line each."""

    def leaves(node: Any, path: str) -> list[str]:
        if isinstance(node, dict) and node:
            return [line for k, v in node.items() for line in leaves(v, f"{path}.{k}".lstrip("."))]
        return [f"{path.removeprefix('trial.')}: {node}"]

    return leaves(preset.tree, "")


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
