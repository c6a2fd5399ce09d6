"""From a trial on paper to a game on the table."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from typing import Any, cast

import torch
from torch import nn, optim

from sweeper.catalog.activations.prelu import slopes
from sweeper.catalog.optimizers import decayed
from sweeper.catalog.regularizers.perception import BARE, Perceiving, Sight
from sweeper.config import Misfit, Pick, Problem, Trial
from sweeper.game import (
    Batch,
    Coupled,
    Known,
    Loss,
    Networks,
    Player,
    Progress,
    Ranks,
    Regularizer,
    Tricks,
    derive,
)
from sweeper.trial.gan import Gan, Term, as_it_is
from sweeper.trial.networks import build, composed, needs_of, refer, references, sides
from sweeper.trial.start import start


def assemble(
    trial: Trial,
    example: Batch,
    progress: Progress,
    known: Known | None = None,
    sight: Sight = BARE,
) -> Gan:
    """Build and initialise everything, on the device of an example batch, from the trial's seed.
    Raises Misfit when the networks do not fit the examples, or a checkpoint to start from does not
    fit the networks."""
    shape, device = tuple(example.image.shape[1:]), example.image.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(trial.seed, "weights"))
        tricks = composed(trial, sight)
        built = build(trial, shape, known, tricks)
    architecture, networks = built
    layout = torch.channels_last if len(shape) == 3 else torch.preserve_format
    for network in (network for pair in networks.values() for network in pair):
        network.to(device).to(memory_format=layout)
    if references(trial):
        refer(trial, built, example, progress)
    report = start(networks, trial.init_from)
    tricks.setup(networks, example)
    seen = {name: t.told for name, t in tricks.all.named_children() if isinstance(t, Perceiving)}
    loss = trial.loss.make()
    join(progress.ranks, loss, tricks, *(net for pair in networks.values() for net in pair))
    return Gan(
        architecture=architecture,
        networks=networks,
        optimizers={
            player: optimizer(side.optimizer, networks, player)
            for player, side in sides(trial).items()
        },
        loss=loss,
        terms=tuple(term(pick, tricks) for pick in trial.regularizers),
        tricks=tricks.to(device),
        schedule=trial.schedule.make(),
        prior=trial.prior.make(),
        constraints={
            player: side.constraint.make()
            for player, side in sides(trial).items()
            if side.constraint and side.constraint.entry.facts["on"] == "network"
        },
        shape=shape,
        batch_size=trial.batch.size,
        decays={
            player: partial(
                decayed, decay=side.optimizer["decay"], start=side.optimizer["decay_start"]
            )
            for player, side in sides(trial).items()
            if side.optimizer["decay"] != "none"
        },
        accumulate=trial.batch.accumulate,
        mixed=trial.batch.mixed,
        pretraining=trial.schedule["pretraining"],
        autocast=partial(reduced, device.type) if trial.precision == "bfloat16" else as_it_is,
        tells_domain="domain" in needs_of(trial.discriminator.normalization),
        report=report | seen,
    )


def join(ranks: Ranks, loss: Loss, *modules: nn.Module) -> None:
    """Tell the loss, and every part in which examples bear on each other, who trains with us."""
    loss.ranks = ranks
    for module in modules:
        for part in module.modules():
            if isinstance(part, Coupled):
                part.ranks = ranks


def reduced(device: str, on: bool) -> torch.autocast:
    """Matrix products in bfloat16 while it is on, and in float32 else."""
    return torch.autocast(device, torch.bfloat16, enabled=on)


def term(pick: Pick, tricks: Tricks) -> Term:
    """A regularizer as a term of a loss. One that remembers is the trick of its name."""
    name = pick.entry.name
    found = dict(tricks.all.named_children()).get(name) if name in tricks.all else None
    formula = found if isinstance(found, Regularizer) else pick.make()
    on = pick["on"] if "on" in pick.entry.own else pick.entry.facts["on"]
    return Term(name, formula, on, pick["every"])


def optimizer(pick: Pick, networks: Networks, player: Player) -> optim.Optimizer:
    """The optimizer of one player over all its networks, in groups of parameters of one rate.
    Slopes of activations do not decay."""
    rates: dict[str, float] = pick["rates"]
    groups: dict[tuple[float, bool], list[tuple[str, nn.Parameter]]] = {}
    matched = set[str]()
    for prefix, pair in networks.items():
        steady = slopes(pair.of(player))
        for name, parameter in pair.of(player).named_parameters():
            pattern = next((p for p in rates if fnmatchcase(name, p)), None)
            if pattern is not None:
                matched.add(pattern)
            if parameter.requires_grad:
                scale = 1.0 if pattern is None else rates[pattern]
                key = scale, parameter in steady
                groups.setdefault(key, []).append((f"{prefix}.{name}", parameter))
    if unmatched := sorted(rates.keys() - matched):
        path = (str(player), "optimizer", pick.entry.name, "rates")
        raise Misfit([Problem(path, f"rates names parameters, but none matches {unmatched[0]!r}")])
    if not groups:
        raise Misfit([Problem((str(player), "freeze"), "a player has something to train")])
    made: Any = pick.make([{"params": named} for named in groups.values()])
    for (scale, still), group in zip(groups, made.param_groups, strict=True):
        group["lr"] = group["initial_lr"] = group["lr"] * scale
        if still and "weight_decay" in group:
            group["weight_decay"] = 0.0
    return cast(optim.Optimizer, made)
