"""Equality of whole training states, bit by bit, and of what a move should not touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sweeper.game import Player
from sweeper.trial.loop import Training
from sweeper.trial.round import Round
from sweeper.trial.step import play

CLOCKS = frozenset({"seconds", "images_per_second"})


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Where two states differ; what a clock measured is left out."""
    if type(a) is not type(b):
        yield f"{path}: {type(a).__name__} and {type(b).__name__}"
    elif isinstance(a, torch.Tensor):
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


def leaves_the_other_alone(training: Training) -> set[Player]:
    """Play a round, and see that each of its moves changes its players, and nobody else. Returns
    who moved."""
    gan, progress, moved = training.gan, training.progress, set[Player]()
    # Shared latents let G's own forward pass happen early, in D's move, buffers and all.
    gan.schedule.fresh_latents = True
    gan.tricks.begin(gan.networks, progress)
    this = Round(gan, training.draw, progress, gan.moves(progress, {}))
    for move in this.moves:
        before = {player: everything(gan.of(player)[0]) for player in Player}
        play(gan, move, this)
        for player in Player:
            changed = list(differences(before[player], everything(gan.of(player)[0])))
            assert bool(changed) == (player in move), changed
        moved |= move
    return moved


def everything(network: nn.Module) -> dict[str, Any]:
    """Weights, buffers and gradients."""
    return {
        "state": {k: v.clone() for k, v in network.state_dict().items()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
    }
