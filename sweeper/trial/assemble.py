"""From a trial on paper to a game on the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, cast

import torch
from torch import nn, optim

from sweeper.catalog.optimizers import decayed
from sweeper.config import Misfit, Pick, Problem, Side, Trial
from sweeper.game import (
    Batch,
    Coupled,
    Layers,
    Loss,
    Networks,
    Pair,
    Player,
    Progress,
    Ranks,
    Regularizer,
    Summary,
    Trick,
    Tricks,
    derive,
)
from sweeper.trial.gan import Gan, Term, as_it_is
from sweeper.trial.start import start

STAGE_OF_TERMS = 5
"""Where regularizers that are tricks, too, stand among the tricks."""


@dataclass(frozen=True)
class Chosen(Layers):
    """The layers of one player, as its side of the trial and the tricks have them."""

    player: Player
    side: Side
    tricks: Tricks
    classes: int = 0

    def norm(self, channels: int) -> nn.Module:
        return cast(nn.Module, self.side.normalization.make(channels))

    def constrain(self, layer: nn.Module) -> nn.Module:
        constraint = self.side.constraint
        if constraint is None or constraint.entry.facts["on"] != "layer":
            return layer
        return cast(nn.Module, constraint.make()(layer))

    def hidden(self, channels: int, depth: int) -> nn.Module:
        return self.tricks.hidden(self.player, channels, depth) or nn.Identity()

    def summary(self, shape: Sequence[int]) -> Summary:
        return self.tricks.summary(tuple(shape)) or Summary(shape[0])


def build(
    trial: Trial, shape: Sequence[int], classes: int = 0, tricks: Tricks | None = None
) -> Pair:
    """The networks of a trial for examples of a shape, in so many classes, untrained. Raises Misfit
    when they do not fit it."""
    architecture, tricks = trial.architecture.make(), tricks or composed(trial)
    told = [pick for pick in trial.regularizers if "class_head" in pick.entry.facts]
    if told and classes < 2:
        name = told[0].entry.name
        law = f"{name} needs labels of two classes or more, and the data has none"
        raise Misfit([Problem(("regularizers", name), law)])
    d, g = (
        Chosen(player, side, tricks, classes if told else 0)
        for player, side in sides(trial).items()
    )
    try:
        pair = Pair(
            architecture.discriminator(tricks.shown(tuple(shape)), d),
            architecture.generator(shape, trial.prior["size"], g),
        )
    except ValueError as error:
        raise Misfit(
            [Problem(("architecture", trial.architecture.entry.name), str(error))]
        ) from None
    for player, side in sides(trial).items():
        freeze(pair.of(player), side.freeze, player)
    return pair


def freeze(network: nn.Module, patterns: str, player: Player) -> None:
    """Never train the parameters that match, nor follow statistics there. Raises Misfit when a
    pattern matches nothing."""
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        parameters = [p for name, p in network.named_parameters() if fnmatchcase(name, pattern)]
        if not parameters:
            known = ", ".join(dict.fromkeys(n.split(".")[0] for n, _ in network.named_parameters()))
            law = f"freeze names parameters, but none matches {pattern!r}; they begin with {known}"
            raise Misfit([Problem((str(player), "freeze"), law)])
        for parameter in parameters:
            parameter.requires_grad_(False)
        for name, module in network.named_modules():
            buffers = [f"{name}.{buffer}" for buffer, _ in module.named_buffers(recurse=False)]
            if any(fnmatchcase(buffer, pattern) for buffer in buffers):
                module.eval()


def probe(trial: Trial, shape: Sequence[int], classes: int = 0) -> None:
    """See whether a trial's networks can be built for examples of a shape, and started from what
    they are to start from, at no cost. Raises Misfit."""
    with torch.device("meta"):
        pair = build(trial, shape, classes)
    start(pair, trial.init_from)


def composed(trial: Trial) -> Tricks:
    """All tricks of a trial as one, and regularizers that remember among them."""
    tricks = [(pick.entry.facts["stage"], pick) for pick in trial.tricks]
    terms = [(STAGE_OF_TERMS, p) for p in trial.regularizers if isinstance(p.entry.target, type)]
    ordered = sorted([*terms, *tricks], key=lambda staged: staged[0])
    return Tricks({pick.entry.name: cast(Trick, pick.make()) for _, pick in ordered})


def sides(trial: Trial) -> dict[Player, Side]:
    return {Player.D: trial.discriminator, Player.G: trial.generator}


def assemble(trial: Trial, example: Batch, progress: Progress, classes: int = 0) -> Gan:
    """Build and initialise everything, on the device of an example batch, from the trial's seed.
    Raises Misfit when the networks do not fit the examples, or a checkpoint to start from does not
    fit the networks."""
    shape, device = tuple(example.image.shape[1:]), example.image.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(trial.seed, "weights"))
        tricks = composed(trial)
        pair = build(trial, shape, classes, tricks)
    report = start(pair, trial.init_from)
    layout = torch.channels_last if len(shape) == 3 else torch.preserve_format
    networks = {"main": Pair(*(network.to(device).to(memory_format=layout) for network in pair))}
    tricks.setup(networks, example)
    loss = trial.loss.make()
    join(progress.ranks, loss, tricks, *networks["main"])
    return Gan(
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
        report=report,
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
    """The optimizer of one player over all its networks, in groups of parameters of one rate."""
    rates: dict[str, float] = pick["rates"]
    groups: dict[float, list[tuple[str, nn.Parameter]]] = {}
    matched = set[str]()
    for prefix, pair in networks.items():
        for name, parameter in pair.of(player).named_parameters():
            pattern = next((p for p in rates if fnmatchcase(name, p)), None)
            if pattern is not None:
                matched.add(pattern)
            if parameter.requires_grad:
                scale = 1.0 if pattern is None else rates[pattern]
                groups.setdefault(scale, []).append((f"{prefix}.{name}", parameter))
    if unmatched := sorted(rates.keys() - matched):
        path = (str(player), "optimizer", pick.entry.name, "rates")
        raise Misfit([Problem(path, f"rates names parameters, but none matches {unmatched[0]!r}")])
    if not groups:
        raise Misfit([Problem((str(player), "freeze"), "a player has something to train")])
    made: Any = pick.make([{"params": named} for named in groups.values()])
    for scale, group in zip(groups, made.param_groups, strict=True):
        group["lr"] = group["initial_lr"] = group["lr"] * scale
    return cast(optim.Optimizer, made)
