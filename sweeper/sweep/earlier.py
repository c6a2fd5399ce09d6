"""The sweep that another one begins from, and what is kept of it in the folder of that other."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sweeper.config import Misfit, Trial
from sweeper.ledger.ledger import ENDED, Event, Ledger, LedgerError, Record
from sweeper.ledger.links import check_links
from sweeper.protocol import differences
from sweeper.space.baselines import Baseline
from sweeper.space.holes import Choice, Maybe, at, holes
from sweeper.space.source import InputError
from sweeper.space.space import SearchSpace

FILE = "from.json"
"""Where a results folder keeps what it knows of an earlier sweep."""
BEGUN = "begun"
"""Where it keeps the checkpoints of that one which its trials start from."""
CHECKPOINT = "init_from.checkpoint"
LEARNING = "tpe"
"""The method whose proposals follow from any trials that there are."""
ELSEWHERE = ("seed", "data", "horizon_kimg", "evaluation", "diagnostics", "init_from")
"""Parts of a trial that may differ between sweeps without its being another configuration. The data
and the evaluation are compared as protocols, and the horizon is taken into account."""


@dataclass(frozen=True)
class Known:
    """A trial of an earlier sweep, as a sampler is shown it: ``curve`` has images and the best
    score up to them."""

    number: int
    params: dict[str, Any]
    state: str
    curve: tuple[tuple[int, float], ...]

    def record(self, horizon: int) -> Record:
        """The trial as if it had been trained up to a horizon of this sweep, and no further."""
        curve = [point for point in self.curve if point[0] <= horizon]
        whole = bool(curve) and self.curve[-1][0] >= horizon
        state = "stopped" if self.state == "completed" else self.state
        state = "completed" if whole and state == "stopped" else state
        last = curve[-1][0] if curve else 0
        events = [
            Event(seq, self.number, 1, "measured", step, best, None, {"best": best}, 0.0)
            for seq, (step, best) in enumerate(curve, 1)
        ]
        end = Event(len(curve) + 1, self.number, 1, "ended", last, None, state, {}, 0.0)
        return Record(self.number, None, self.params, {}, 0.0, [*events, end])


@dataclass(frozen=True)
class Earlier:
    """An earlier sweep: what it is called, where its folder lay when this one began, and what this
    one has of it. Its ``seed`` is not used again, since that would draw the same.

    ``continued`` are the numbers of its trials that are trained further, in the order of the trials
    here; ``afresh`` says that they begin anew. ``known`` are those that the sampler is shown, and
    ``left_out`` counts those that it is not, by the reason.
    """

    id: str
    name: str
    folder: str
    seed: int
    continued: tuple[int, ...] = ()
    afresh: bool = False
    known: tuple[Known, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """What ``sweep.json`` says of it."""
        return {
            "id": self.id,
            "name": self.name,
            "folder": self.folder,
            "continued": list(self.continued),
            "afresh": self.afresh,
            "known": len(self.known),
            "left_out": self.left_out,
        }

    def write(self, folder: Path) -> None:
        """Keep all of it in a results folder."""
        draft = folder / f"{FILE}.{os.getpid()}.tmp"
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.replace(folder / FILE)

    def records(self, horizon: int) -> list[Record]:
        """The trials that the sampler is shown, as far as a horizon of this sweep."""
        return [known.record(horizon) for known in self.known]


def kept(folder: Path) -> Earlier | None:
    """What a results folder keeps of an earlier sweep, if it began from one. Raises InputError when
    that is not what was written there."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        plain = json.loads(file.read_text())
        known = tuple(
            Known(int(k["number"]), dict(k["params"]), str(k["state"]), _curve(k["curve"]))
            for k in plain.pop("known")
        )
        continued = tuple(int(number) for number in plain.pop("continued"))
        if not all(k.state in ENDED for k in known):
            raise ValueError
        return Earlier(known=known, continued=continued, **plain)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError([f"{file}: this is not what sweeper wrote there"]) from None


def _curve(points: Sequence[Sequence[float]]) -> tuple[tuple[int, float], ...]:
    return tuple((int(step), float(best)) for step, best in points)


def at_home(space: SearchSpace, folder: Path) -> SearchSpace:
    """A space whose given trials start from the checkpoints that a results folder keeps, wherever
    the folder lay when it was made."""

    def moved(given: Baseline) -> Baseline:
        path = Path(str(given.given.get(CHECKPOINT, "")))
        here = folder.resolve() / BEGUN / path.name
        if path.parent.name != BEGUN or not here.is_dir():
            return given
        return replace(given, given={**given.given, CHECKPOINT: str(here)})

    return replace(space, given=tuple(map(moved, space.given)))


def opened(folder: Path, option: str) -> tuple[dict[str, Any], list[Record]]:
    """The plan of a results folder and its trials. Raises InputError when it is none; ``option``
    says what named it."""
    file = folder / "sweep.json"
    try:
        check_links(folder)
        plain = json.loads(file.read_text())
        ledger = Ledger(folder, write=False)
    except FileNotFoundError:
        law = f"{option} names a results folder, which holds sweep.json, but {folder} does not"
        raise InputError([law]) from None
    except LedgerError as error:
        raise InputError([str(error)]) from None
    except ValueError:
        raise InputError([f"{file}: this is not what sweeper wrote there"]) from None
    ledger.close()  # what is only read stays in memory
    return plain, ledger.records


def known_from(
    folder: Path, space: SearchSpace, protocol: Mapping[str, Any], horizon: int, out: Path
) -> Earlier:
    """What an earlier sweep knows of a space: those of its trials that could have been drawn from
    it, however they ended, and how far each came on the axis of this budget, in images of a trial
    that has this ``horizon``.

    Raises InputError when it was measured under another protocol, when the method learns from no
    trial, and when none of its trials could have been drawn.
    """
    if space.search.method != LEARNING:
        law = f"--from shows trials to a sampler that learns from them, which is {LEARNING}"
        raise InputError([f"{law}, but search.method is {space.search.method}"])
    plain, records = opened(folder, "--from")
    if apart := differences(plain.get("protocol", {}), protocol):
        law = "a sampler learns from numbers of one protocol"
        raise InputError([f"{law}, but that of {folder} and of this sweep differ in {apart}"])
    known, left_out = list[Known](), dict[str, int]()
    for record in records:
        if record.of is not None:
            continue
        found = _drawn(record, space)
        if isinstance(found, str):
            left_out[found] = left_out.get(found, 0) + 1
            continue
        params, trial = found
        share = horizon / round(1000 * trial.horizon_kimg)
        points = [(round(p.step * share), p.best) for p in record.curve if p.best is not None]
        known.append(Known(record.number, params, record.state, tuple(points)))
    if not known:
        law = f"none of the trials of {folder} could have been drawn from this space"
        often = sorted(left_out.items(), key=lambda found: -found[1])
        raise InputError([f"{law}:", *(f"  {n} times: {why}" for why, n in often)])
    where = os.path.relpath(folder.resolve(), out)
    seed = int(plain["seed"])
    return Earlier(plain["id"], plain["name"], where, seed, known=tuple(known), left_out=left_out)


def _drawn(record: Record, space: SearchSpace) -> tuple[dict[str, Any], Trial] | str:
    """The parameters by which a space comes to the configuration of a trial, and the trial that it
    makes of them; in words why not."""
    if not record.ended or record.state == "failed":
        return "it failed or has not ended"
    try:
        was = Trial.read(record.config).plain()
        params, trial = space.baseline(Baseline("", dict(_given(record.params, was, space))))
    except Misfit as misfit:
        return str(misfit.problems[0])
    return configured_apart(was, trial) or (params, trial)


def configured_apart(config: Mapping[str, Any], trial: Trial) -> str:
    """In which setting a trial is of another configuration than one that was run, in words; empty
    if in none. Raises Misfit when that one is no trial any more."""
    was, now = Trial.read(config).plain(), trial.plain()
    apart = (_apart(was[key], now[key], key) for key in was if key not in ELSEWHERE)
    return next(filter(None, apart), "")


def _given(
    params: Mapping[str, Any], plain: Mapping[str, Any], space: SearchSpace
) -> Iterator[tuple[str, Any]]:
    """What a trial has at every hole of a space: what it was drawn with, or what stands there."""
    for name, hole in dict(holes(space.tree)).items():
        path = name.removesuffix(".ratio")
        if name in params:
            yield name, params[name]
        elif isinstance(hole, Choice | Maybe):
            labels = hole.describe()["choices"]
            label = _label(plain, path, labels)
            if label is not NOTHING:
                yield path, label
        elif (value := _at(plain, path)) is not NOTHING:
            yield path, value


NOTHING = object()


def _at(plain: Mapping[str, Any], path: str) -> Any:
    try:
        return at(plain, path)
    except LookupError:
        return NOTHING


def _label(plain: Mapping[str, Any], path: str, labels: Sequence[Any]) -> Any:
    """Which of some labels stands for what a trial has at a path; NOTHING if none does."""
    found = _at(plain, path)
    if labels == [False, True]:
        return found if isinstance(found, bool) else found not in (NOTHING, None)
    if isinstance(found, dict):
        found = next(iter(found)) if len(found) == 1 else NOTHING
    return found if found in labels else NOTHING


def _apart(was: Any, now: Any, path: str) -> str:
    """The first difference between two parts of a trial, in words."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [*was, *(key for key in now if key not in was)]
        deeper = (_apart(was.get(key), now.get(key), f"{path}.{key}") for key in keys)
        return next(filter(None, deeper), "")
    # A ratio that is drawn and one that is taken back may differ in the last digit.
    number = isinstance(was, float) and isinstance(now, float)
    same = math.isclose(was, now, rel_tol=1e-9) if number else was == now
    return "" if same else f"{path} was {_shown(was)}, and here it is {_shown(now)}"


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "nothing"
    return ", ".join(value) if isinstance(value, dict) else str(value)
