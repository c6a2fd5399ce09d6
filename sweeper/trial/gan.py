"""The assembled game: the networks, and everything that bears on how they learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn, optim

from sweeper.game import (
    Architecture,
    Loss,
    Move,
    Paced,
    Pair,
    Player,
    Prior,
    Progress,
    Ranks,
    Schedule,
    Silent,
    Tricks,
    Turn,
)

PLAIN = nullcontext()


def as_it_is(on: bool) -> AbstractContextManager[object]:
    """Everything in float32, and nothing to switch."""
    return PLAIN


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
    tricks: Tricks
    schedule: Schedule
    prior: Prior
    constraints: dict[Player, Callable[[nn.Module], None]]
    shape: tuple[int, ...]
    batch_size: int
    decays: Mapping[Player, Callable[[Progress], float]] = field(default_factory=dict)
    accumulate: int = 1
    mixed: bool = False
    pretraining: int = 0
    autocast: Callable[[bool], AbstractContextManager[object]] = as_it_is
    architecture: Architecture = field(default_factory=Architecture)
    tells_domain: bool = False
    report: Mapping[str, Any] = field(default_factory=dict)

    def of(self, player: Player) -> list[nn.Module]:
        return [pair.of(player) for pair in self.networks.values()]

    def parameters(self, player: Player) -> list[nn.Parameter]:
        """What a player trains."""
        return self._trained[player]

    @cached_property
    def _trained(self) -> dict[Player, list[nn.Parameter]]:
        return {
            player: [p for net in self.of(player) for p in net.parameters() if p.requires_grad]
            for player in Player
        }

    def moves(self, progress: Progress, losses: Mapping[str, Tensor]) -> Sequence[Move]:
        """Who moves in the coming round: D alone while it is ahead of its first opponent, else whom
        the schedule calls."""
        if progress.moves[Player.D] < self.pretraining:
            return [frozenset({Player.D})]
        return self.schedule.moves(progress, losses)

    def forget_gradients(self, player: Player) -> None:
        """Begin a player's gradients anew."""
        # Not by the optimizer's zero_grad, which takes longer to announce itself to the profiler.
        for weight in self.parameters(player):
            weight.grad = None

    def backward(self, player: Player, share: float, loss: Tensor) -> None:
        """Add a share of a loss to one player's gradients; the other's weights collect none."""
        torch.autograd.backward(
            loss if share == 1 else share * loss,
            inputs=self.parameters(player),
            retain_graph=self.schedule.shared_forward,
        )

    def agree(self, player: Player, ranks: Ranks) -> None:
        """Take the mean over ranks of a player's gradients: that of the joined batch."""
        if ranks.size > 1:
            own = [p.grad for p in self.parameters(player) if p.grad is not None]
            torch._foreach_copy_(own, list(ranks.means(own)))

    def step(self, player: Player, progress: Progress) -> None:
        self.descend(player, progress)
        progress.moves[player] += 1
        self.tricks.weights(player, self.networks, progress)

    def descend(self, player: Player, progress: Progress) -> None:
        """A step down the gradients, at the rate of the moment, and back into the constraint."""
        optimizer = self.optimizers[player]
        if player in self.decays:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.decays[player](progress)
        optimizer.step()
        if player in self.constraints:
            for network in self.of(player):
                self.constraints[player](network)

    def rates(self, player: Player, progress: Progress) -> dict[nn.Parameter, float]:
        """The learning rates of a player's parameters."""
        found = dict[nn.Parameter, float]()
        for group in self.optimizers[player].param_groups:
            decay = self.decays[player](progress) if player in self.decays else 1.0
            rate = group["initial_lr"] if player in self.decays else group["lr"]
            found |= dict.fromkeys(group["params"], float(rate) * decay)
        return found

    def begin(self, progress: Progress) -> None:
        """Set the stage for the coming round."""
        for part in self._paced:
            part.pace(progress)
        self.tricks.begin(self.networks, progress)

    @cached_property
    def _paced(self) -> list[Paced]:
        parts = [part for player in Player for net in self.of(player) for part in net.modules()]
        return [part for part in parts if isinstance(part, Paced)]

    def playing(self, progress: Progress, player: Player) -> list[str]:
        """The pairs in which a player trains now: a D that says nothing never does."""
        now = self.architecture.playing(progress)
        return [
            name
            for name, pair in self.networks.items()
            if (now is None or name in now) and not isinstance(pair.of(player), Silent)
        ]

    def eval_generator(self) -> nn.Module:
        """The generator that the metrics are shown."""
        shown = {
            name: self.tricks.eval_generator(pair.generator, name)
            for name, pair in self.networks.items()
        }
        return self.architecture.whole(shown)

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
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, pair in self.networks.items():
            for player in Player:
                pair.of(player).load_state_dict(state["networks"][name][str(player)])
        for player, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][str(player)])
        self.tricks.load_state_dict(state["tricks"])
        self.schedule.load_state_dict(state["schedule"])

    @contextmanager
    def undone(self, move: Move) -> Iterator[None]:
        """Whatever steps are made meanwhile, weights and optimizers are afterwards what they were,
        bit by bit; of the gradients taken meanwhile, those of the players of ``move`` stay."""
        weights = [p for player in Player for n in self.of(player) for p in n.parameters()]
        before = [p.detach().clone() for p in weights]
        others = [p for player in Player if player not in move for p in self.parameters(player)]
        gradients = [p.grad for p in others]
        optimizers = {p: deepcopy(o.state_dict()) for p, o in self.optimizers.items()}
        for weight in others:
            weight.grad = None
        try:
            yield
        finally:
            for weight, value in zip(weights, before, strict=True):
                weight.data.copy_(value)
            for weight, gradient in zip(others, gradients, strict=True):
                weight.grad = gradient
            for player, state in optimizers.items():
                self.optimizers[player].load_state_dict(state)


@contextmanager
def untouched(*networks: nn.Module) -> Iterator[None]:
    """Leave no trace in the buffers of networks that are only used: statistics belong to a player's
    own moves.

    Copies stand in for the buffers meanwhile, since a graph that waits for its backward may hold
    the originals.
    """
    own = [(module, name, module._buffers[name]) for n in networks for module, name in buffered(n)]
    for module, name, buffer in own:
        module._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in own:
            module._buffers[name] = buffer


_buffered: WeakKeyDictionary[nn.Module, list[tuple[nn.Module, str]]] = WeakKeyDictionary()


def buffered(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where a network has buffers, looked for once: a network keeps its layers."""
    if network not in _buffered:
        _buffered[network] = [
            (module, name) for module in network.modules() for name in module._buffers
        ]
    return _buffered[network]
