"""What any technique owes the trainer, whatever its formula: tried in a trial on tiny networks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from sweeper.catalog.datasets.digits import load
from sweeper.catalog.datasets.example import Example, Synthetic
from sweeper.catalog.datasets.store import Store, pack
from sweeper.config import Data, Misfit, Slot, Trial, astray
from sweeper.game import UNTOLD, Player
from sweeper.registry import Entry, tags
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training
from sweeper.trial.networks import probe, untold
from sweeper.trial.round import Round
from sweeper.trial.step import play
from sweeper.verify.claims import Claim

Tree = dict[str, Any]
CLOCKS = frozenset({"seconds", "images_per_second"})


@dataclass(frozen=True)
class Place:
    """A slot of a trial."""

    path: tuple[str, ...]
    slot: Slot

    def put(self, tree: Tree, name: str) -> None:
        *above, last = self.path
        for key in above:
            tree = tree[key]
        if self.slot.several:
            tree[last] = {**tree.get(last, {}), name: {}}
        else:
            tree[last] = {name: {}}


def places(model: type[BaseModel] = Trial, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """The slots of a trial, found in its model."""
    for name, info in model.model_fields.items():
        for slot in (m for m in info.metadata if isinstance(m, Slot)):
            yield Place((*path, name), slot)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Data):
            yield from places(info.annotation, (*path, name))


@dataclass(frozen=True)
class Case:
    """One technique in one place."""

    place: Place
    entry: Entry[Any]

    def __str__(self) -> str:
        return ".".join((*self.place.path, self.entry.name))


def cases() -> list[Case]:
    """Every technique that needs nothing from the user, in every place where it can stand."""
    return [
        Case(place, entry)
        for place in places()
        for entry in place.slot.registry.values()
        if not any(info.is_required() for info in entry.knobs.model_fields.values())
        and not astray(place.path, entry)
    ]


def tiny(**changes: Any) -> Tree:
    """A plain trial that trains in well under a second, with parts replaced."""
    return {
        "data": {"digits": {}},
        "architecture": {"dcgan": {"channels": 4}},
        "prior": {"gaussian_latent": {"size": 8}},
        "generator": {"normalization": "batch_norm", "optimizer": "adam"},
        "discriminator": {"normalization": "none", "optimizer": "adam"},
        "loss": "non_saturating",
        "schedule": "alternating_update",
        "batch": {"size": 8},
        "horizon_kimg": 0.048,
        "evaluation": {
            "features": "random_conv",
            "samples": 16,
            "full_samples": 16,
            "every_kimg": 0.016,
        },
        **changes,
    }


class LargeDigits(Synthetic):
    """Digits of 16 px: the smallest size at which a DCGAN discriminator has a normalised layer."""

    name = "large_digits"
    classes = tuple("0123456789")

    def fingerprint(self) -> str:
        return "digits of 16 px"

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> Example:
        images, labels = load()
        return Example(images[index].repeat(2, 1).repeat(2, 2), int(labels[index]))


class ToldDigits(LargeDigits):
    """The same, each to be made of its negative, with a mask of its ink and another digit of its
    style."""

    name = "told_digits"

    def fingerprint(self) -> str:
        return "digits of 16 px, with all that networks can be told"

    def __getitem__(self, index: int) -> Example:
        plain, other = super().__getitem__(index), super().__getitem__((index + 1) % len(self))
        mask = np.where(plain.image > 127, 255, 0).astype(np.uint8)
        return Example(plain.image, plain.label, 255 - plain.image, mask, other.image)


def bases(cache: Path) -> list[Tree]:
    """The trials that techniques are tried in: on images, on points, and on images made from
    others."""
    store, told = (pack(source, cache / "data") for source in (LargeDigits(), ToldDigits()))
    return [
        tiny(data={"packed": {"path": str(store.path)}}),
        tiny(data={"ring": {"length": 200}}, architecture={"mlp_gan": {"hidden": 8}}),
        tiny(data={"packed": {"path": str(told.path)}}),
    ]


def trial_with(case: Case, bases: Iterable[Tree]) -> Trial:
    """A trial that holds a technique, and beside it whatever provides what the technique needs.

    Raises Misfit if there is none.
    """
    side = case.place.path[0]
    companions = [
        [
            (place, other.name)
            # On its own side first, which changes least.
            for place in sorted(places(), key=lambda place: place.path[0] != side)
            for other in place.slot.registry.values()
            if tag in tags(other.provides) and (place.path[0] != "generator" or side == "generator")
        ]
        for tag in sorted(tags(case.entry.needs))
    ]
    problems = []
    # The fewest companions first, whatever the data.
    for beside, base in product([(), *product(*companions)], list(bases)):
        tree = deepcopy(base)
        for place, name in beside:
            place.put(tree, name)
        case.place.put(tree, case.entry.name)
        try:
            return _built(Trial.read(tree))
        except Misfit as misfit:
            problems += misfit.problems
    raise Misfit(list(dict.fromkeys(problems)))


def _built(trial: Trial) -> Trial:
    """A trial on one of the bases, whose networks can be built for its data. Raises Misfit."""
    if trial.data.entry.name == "packed":
        meta = Store(Path(trial.data["path"])).meta
        probe(trial, meta.shape, meta.known)
    elif wanting := list(untold(trial, UNTOLD)):
        raise Misfit(wanting)
    return trial


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Where two states differ, bit by bit; what a clock measured is left out."""
    if type(a) is not type(b):
        yield f"{path}: {type(a).__name__} and {type(b).__name__}"
    elif isinstance(a, Tensor):
        if a.dtype != b.dtype or not torch.equal(a, b):
            yield path
    elif isinstance(a, dict):
        if list(a) != list(b):
            yield f"{path}: {list(a)} and {list(b)}"
        for key in set(a) & set(b) - CLOCKS:
            yield from differences(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            yield f"{path}: {len(a)} and {len(b)} items"
        for i, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from differences(x, y, f"{path}.{i}")
    elif a != b:
        yield f"{path}: {a} and {b}"


def trespasses(training: Training, moved: set[Player]) -> Iterator[str]:
    """Play a round, and see that each of its moves changes its players, and nobody else. Adds who
    moved."""
    gan, progress = training.gan, training.progress
    # Shared latents let G's own forward pass happen early, in D's move, buffers and all.
    gan.schedule.fresh_latents = True
    gan.tricks.begin(gan.networks, progress)
    this = Round(gan, training.draw, progress, gan.moves(progress, {}))
    for move in this.moves:
        before = {player: everything(gan.of(player)) for player in Player}
        play(gan, move, this)
        for player in Player:
            changed = list(differences(before[player], everything(gan.of(player))))
            if player not in move:
                yield from (f"{player}{where} in the move of the other" for where in changed)
            elif not changed:
                yield f"{player} stays as it is in its own move"
        moved |= move


def everything(networks: Iterable[nn.Module]) -> list[dict[str, Any]]:
    """Weights, buffers and gradients of all networks of a player."""
    return [
        {
            "state": {k: v.clone() for k, v in network.state_dict().items()},
            "gradients": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        }
        for network in networks
    ]


def claims(case: Case, cache: Path) -> Iterator[Claim]:
    """Train a few steps with a technique: they are finite, the same from the same seed, the same
    when stopped and resumed, and each player's are its own. Raises what the technique raises."""
    trial = trial_with(case, bases(cache))
    where = f" ({'.'.join(case.place.path)})" if len(case.place.path) > 1 else ""
    with tempfile.TemporaryDirectory() as folder:
        saved = Checkpoints(Path(folder))
        whole = Training(trial, cache)
        saved.save(whole.advance().images, whole.state_dict())
        early = loaded(saved)
        end = finished(whole)
        numbers = [
            value
            for measured in end["measurements"]
            for value in (measured["score"], *measured["losses"].values())
        ]
        yield _none(f"losses and scores that are not finite{where}", map(_odd, numbers))
        torch.manual_seed(1234)  # whatever ran in this process in between must not matter
        again = Training(trial, cache)
        again.advance()
        yield _none(
            f"values that differ when trained again from the seed{where}",
            differences(again.state_dict(), early),
        )
        resumed = Training(trial, cache)
        torch.rand(3)
        resumed.load_state_dict(early)
        yield _none(
            f"values that differ when stopped, saved and resumed{where}",
            differences(finished(resumed), end),
        )
    fresh, moved = Training(trial, cache), set[Player]()
    wrong = [told for _ in range(2) for told in trespasses(fresh, moved)]
    yield _none(f"changes of a player in the other's moves{where}", wrong)


def finished(training: Training) -> dict[str, Any]:
    """The state of a training at its end."""
    while not training.finished:
        training.advance()
    return training.state_dict()


def loaded(saved: Checkpoints) -> dict[str, Any]:
    state = saved.load()
    assert state is not None
    return state


def _odd(value: float) -> bool:
    return not math.isfinite(value)


def _none(what: str, found: Iterable[Any]) -> Claim:
    """The claim that there is nothing of a kind."""
    return Claim(what, sum(map(bool, found)), 0, within=0)
