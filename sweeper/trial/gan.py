"""The assembled game: the networks, and everything that bears on how they learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from sweeper.game import Loss, Pair, Player, Prior, Progress, Schedule, Trick, Turn, state_of


@dataclass(frozen=True)
class Term:
    """A regularizer in a player's loss: taken in every so-manieth move of that player, at so many
    times its weight."""

    name: str
    formula: Callable[[Turn], Tensor]
    on: str
    every: int

    def due(self, turn: Turn) -> bool:
        return (
            self.on in (turn.player, "both") and turn.progress.moves[turn.player] % self.every == 0
        )

    def __call__(self, turn: Turn) -> Tensor:
        return self.every * self.formula(turn)


@dataclass(frozen=True)
class Gan:
    """Two players, ready to move."""

    networks: dict[str, Pair]
    optimizers: dict[Player, optim.Optimizer]
    loss: Loss
    terms: tuple[Term, ...]
    tricks: Trick
    schedule: Schedule
    prior: Prior
    constraints: dict[Player, Callable[[nn.Module], None]]
    shape: tuple[int, ...]
    batch_size: int

    def of(self, player: Player) -> list[nn.Module]:
        return [pair.of(player) for pair in self.networks.values()]

    def parameters(self, player: Player) -> list[nn.Parameter]:
        return [p for network in self.of(player) for p in network.parameters() if p.requires_grad]

    def differentiate(self, player: Player, loss: Tensor, progress: Progress) -> None:
        """Gradients for one player; the other's weights collect none."""
        self.optimizers[player].zero_grad()
        torch.autograd.backward(loss, inputs=self.parameters(player))
        self.tricks.gradients(player, self.networks, progress)

    def step(self, player: Player, progress: Progress) -> None:
        self.optimizers[player].step()
        if player in self.constraints:
            for network in self.of(player):
                self.constraints[player](network)
        progress.moves[player] += 1
        self.tricks.weights(player, self.networks, progress)

    def eval_generator(self) -> nn.Module:
        """The generator that the metrics are shown."""
        name, pair = next(iter(self.networks.items()))
        return self.tricks.eval_generator(pair.generator, name)

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": {
                name: {str(p): pair.of(p).state_dict() for p in Player}
                for name, pair in self.networks.items()
            },
            "optimizers": {
                str(p): optimizer.state_dict() for p, optimizer in self.optimizers.items()
            },
            "tricks": self.tricks.state_dict(),
            "terms": {term.name: state_of(term.formula) for term in self.terms},
            "schedule": state_of(self.schedule),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, pair in self.networks.items():
            for player in Player:
                pair.of(player).load_state_dict(state["networks"][name][str(player)])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][str(player)])
        self.tricks.load_state_dict(state["tricks"])
        for part, saved in [
            *((term.formula, state["terms"][term.name]) for term in self.terms),
            (self.schedule, state["schedule"]),
        ]:
            if isinstance(part, nn.Module):
                part.load_state_dict(saved)


@contextmanager
def untouched(*networks: nn.Module) -> Iterator[None]:
    """Leave no trace in the buffers of networks that are only used: statistics belong to a player's
    own moves.

    Copies stand in for the buffers meanwhile, since a graph that waits for its backward may hold
    the originals.
    """
    modules = [module for network in networks for module in network.modules()]
    own = [
        (module, name, b)
        for module in modules
        for name, b in module._buffers.items()
        if b is not None
    ]
    for module, name, buffer in own:
        module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in own:
            module._buffers[name] = buffer
