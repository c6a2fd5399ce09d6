"""Samples of trained generators, and walks between their latents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweeper.catalog.datasets.store import Store
from sweeper.catalog.families import walks
from sweeper.config import Pick, Trial
from sweeper.game import Streams, derive
from sweeper.registry import Entry, Law, nearest, tags
from sweeper.space.source import InputError
from sweeper.sweep.trained import Trained, trained
from sweeper.trial.samples import Given, labels_like, sheet, triptychs
from sweeper.trial.samples import sampled as samples_of
from sweeper.trial.split import shares

AUTO = "auto"
"""The walk that suits the prior."""


def generate(
    folder: Path,
    n: int,
    output: Path,
    number: int | None,
    seed: int,
    walk: str | None = None,
    steps: int = 8,
    use: tuple[Path, ...] = (),
) -> Iterator[str]:
    """Write a sheet of samples of a trial's best generator, each beside what it was made from and
    should have become, if it was made from an image; or of walks of so many ``steps`` between its
    latents, a row each, along a ``walk`` by name, or ``auto``: the one that suits its prior. Raises
    InputError without one."""
    way = None if walk in (None, AUTO) else walk_of(str(walk))
    (found,) = trained(folder, number, use)
    record = found.record
    if walk == AUTO:
        way = walk_for(found.trial.prior)
    output.parent.mkdir(parents=True, exist_ok=True)
    if way is None:
        triptychs(*made(found, n, seed)).save(output)
        what = f"{n} samples"
    else:
        rows = max(1, n // steps)
        sheet(made(found, rows, seed, way, steps)[0], steps).save(output)
        what = f"{rows} walks ({way.name}) of {steps} samples"
        for law in astray(way, found.trial.prior):
            yield f"warning: {way.name} beside {found.trial.prior.entry.name}: {law.why}"
    yield f"wrote {what} of {record.name} ({record.score:.4g}) to {output}"


def walk_of(name: str) -> Entry[Any]:
    """The walk of a name, or of what comes before ``_interpolation`` in it. Raises InputError."""
    known = {key.removesuffix("_interpolation"): entry for key, entry in walks.items()}
    if name in known or name in walks:
        return known.get(name) or walks[name]
    hint = nearest(name, known)
    meant = f"; did you mean {hint}?" if hint else ""
    raise InputError([f"--walk is one of {', '.join(known)}, but got {name!r}{meant}"])


def walk_for(prior: Pick) -> Entry[Any]:
    """The walk that stays where a prior's latents lie: an arc for those that are normal or on a
    sphere, a straight line for those of a cube."""
    return min(walks.values(), key=lambda way: len(astray(way, prior)))


def astray(way: Entry[Any], prior: Pick) -> list[Law]:
    """Why a walk may leave the places where a prior's latents lie."""
    return [law for law in way.warns if law.tag in tags(prior.entry.provides)]


@torch.no_grad()
def made(
    found: Trained,
    n: int,
    seed: int,
    way: Entry[Any] | None = None,
    steps: int = 1,
) -> tuple[Tensor, Given]:
    """Samples (n, *shape) of the generator that was best in a trial, and what it was given; of a
    walk with so many ``steps`` for each of n pairs of latents, if there is a ``way``: (n · steps,
    *shape)."""
    store = found.store()
    generator = found.generator(store)
    random = Streams(derive(seed, "generate"))
    prior = found.trial.prior.make()
    z = prior.shown(n, random["latents"])
    if way is not None:
        other = prior.shown(n, random["latents"])
        t = torch.linspace(0, 1, steps)[:, None, None]
        z = way.make()(z, other, t).transpose(0, 1).flatten(0, 1)
    given = given_for(found.trial, store, n, random["labels"], steps)
    return samples_of(generator, z, given, derive(seed, "generate", "noise")), given


def given_for(trial: Trial, store: Store, n: int, random: torch.Generator, steps: int) -> Given:
    """What a generator is given for n walks of some steps: labels as frequent as in the data, or
    examples that were held out, where images are made from others."""
    if not any(store.meta.known[1:]):
        labels = labels_like(store.labels, n, random)
        return Given(None if labels is None else labels.repeat_interleave(steps), store)
    heldout = shares(len(store), trial.evaluation).heldout
    indices = heldout[torch.randint(len(heldout), (n,), generator=random)].repeat_interleave(steps)
    return Given(None if store.labels is None else store.labels[indices], store, indices)
