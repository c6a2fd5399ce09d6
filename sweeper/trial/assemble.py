"""From a trial on paper to a game on the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from sweeper.config import Misfit, Problem, Side, Trial
from sweeper.game import Batch, Pair, Player, Progress, Tricks, derive
from sweeper.trial.gan import Gan, Term


@dataclass(frozen=True)
class Layers:
    """The layers of one player, as its side of the trial has them."""

    side: Side

    def norm(self, channels: int) -> nn.Module:
        return cast(nn.Module, self.side.normalization.make(channels))

    def constrain(self, layer: nn.Module) -> nn.Module:
        constraint = self.side.constraint
        if constraint is None or constraint.entry.facts["on"] != "layer":
            return layer
        return cast(nn.Module, constraint.make()(layer))


def build(trial: Trial, shape: Sequence[int]) -> Pair:
    """The networks of a trial for examples of a shape, untrained. Raises Misfit when they do not
    fit it."""
    architecture = trial.architecture.make()
    try:
        return Pair(
            architecture.discriminator(shape, Layers(trial.discriminator)),
            architecture.generator(shape, trial.prior["size"], Layers(trial.generator)),
        )
    except ValueError as error:
        raise Misfit(
            [Problem(("architecture", trial.architecture.entry.name), str(error))]
        ) from None


def probe(trial: Trial, shape: Sequence[int]) -> None:
    """See whether a trial's networks can be built for examples of a shape, at no cost. Raises
    Misfit."""
    with torch.device("meta"):
        build(trial, shape)


def assemble(trial: Trial, example: Batch, progress: Progress) -> Gan:
    """Build and initialise everything, on the device of an example batch, from the trial's seed."""
    shape, device = tuple(example.image.shape[1:]), example.image.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(trial.seed, "weights"))
        pair = build(trial, shape)
    layout = torch.channels_last if len(shape) == 3 else torch.preserve_format
    networks = {
        "main": Pair(*(network.to(device).to(memory_format=layout).train() for network in pair))
    }
    tricks = Tricks(
        {p.entry.name: p.make() for p in sorted(trial.tricks, key=lambda p: p.entry.facts["stage"])}
    )
    tricks.setup(networks, example)
    sides = {Player.D: trial.discriminator, Player.G: trial.generator}
    return Gan(
        networks=networks,
        optimizers={
            player: side.optimizer.make(
                [
                    (f"{name}.{key}", p)
                    for name, pair in networks.items()
                    for key, p in pair.of(player).named_parameters()
                ]
            )
            for player, side in sides.items()
        },
        loss=trial.loss.make(),
        terms=tuple(
            Term(pick.entry.name, pick.make(networks), pick.entry.facts["on"], pick["every"])
            if isinstance(pick.entry.target, type)
            else Term(pick.entry.name, pick.make(), pick.entry.facts["on"], pick["every"])
            for pick in trial.regularizers
        ),
        tricks=tricks.to(device),
        schedule=trial.schedule.make(),
        prior=trial.prior.make(),
        constraints={
            player: side.constraint.make()
            for player, side in sides.items()
            if side.constraint and side.constraint.entry.facts["on"] == "network"
        },
        shape=shape,
        batch_size=trial.batch.size,
    )
