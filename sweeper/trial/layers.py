"""The layers of one player, as a trial has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import nn

from sweeper.catalog.convolutions.conv import Conv
from sweeper.config import Pick, Side
from sweeper.game import (
    UNTOLD,
    Initial,
    Known,
    Layers,
    Player,
    Resampling,
    Summary,
    Tricks,
    as_made,
)

OUTPUTS = {"tanh": nn.Tanh, "unit": nn.Sigmoid, "standardize": nn.Identity}
"""What G ends in, by the range in which it makes images."""


@dataclass
class Placed:
    """What came of the techniques that a trial chose for one player's networks: those that have a
    place in them, and the sizes of the hidden layers where blocks could have had one."""

    techniques: set[str] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Chosen(Layers):
    """The layers of one network, as its player's side of the trial and the tricks have them.

    ``norms`` are the channels of the normalizations made so far, in order.
    """

    player: Player
    side: Side
    tricks: Tricks
    known: Known = UNTOLD
    classes: int = 0
    pixel_range: str = "tanh"
    initial: Initial = as_made
    placed: Placed = field(default_factory=Placed)
    norms: list[int] = field(default_factory=list)

    def starting(self, initial: Initial) -> Layers:
        return self if self.side.initialization else replace(self, initial=initial)

    def telling(self, known: Known) -> Layers:
        return replace(self, known=known)

    def plain(self) -> Layers:
        return replace(self, side=self.side.model_copy(update={"convolution": None}))

    def weighted(self, layer: nn.Module, adapt: Initial = as_made) -> nn.Module:
        # Before a constraint reparametrises the weights.
        self._draw(layer, adapt)
        constraint = self.side.constraint
        if constraint is None or constraint.entry.facts["on"] != "layer":
            return layer
        return cast(nn.Module, constraint.make()(layer))

    def _draw(self, layer: nn.Module, adapt: Initial = as_made) -> None:
        if any(p.is_meta for p in layer.parameters()):
            return  # a probe, which has nothing to draw and should not wait for it
        initial = self.side.initialization.make() if self.side.initialization else self.initial
        with torch.no_grad():
            initial(layer)
            adapt(layer)

    def norm(self, channels: int) -> nn.Module:
        before = self.norms[-1] if self.norms else 0
        self.norms.append(channels)
        norm = self._made(self.side.normalization, {"channels": channels, "before": before})
        self._draw(norm)
        return norm

    def activation(self, channels: int, own: Callable[[], nn.Module]) -> nn.Module:
        chosen = self.side.activation
        return self._made(chosen, {"channels": channels}) if chosen else own()

    def conv(self, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = True) -> nn.Module:
        chosen = self.side.convolution
        if chosen is None:
            return Conv(inputs, outputs, kernel, self, bias)
        self.placed.techniques.add("convolution")
        sizes = {"inputs": inputs, "outputs": outputs, "kernel": kernel, "bias": bias}
        return self._made(chosen, sizes)

    def up(self, inputs: int, outputs: int, own: Resampling, *, bias: bool = False) -> nn.Module:
        chosen = getattr(self.side, "upsampling", None)
        self.placed.techniques.add("upsampling")
        return self._resampled(chosen, own, inputs, outputs, bias)

    def down(self, inputs: int, outputs: int, own: Resampling, *, bias: bool = False) -> nn.Module:
        chosen = getattr(self.side, "downsampling", None)
        self.placed.techniques.add("downsampling")
        return self._resampled(chosen, own, inputs, outputs, bias)

    def _resampled(
        self, chosen: Pick | None, own: Resampling, inputs: int, outputs: int, bias: bool
    ) -> nn.Module:
        if chosen is None:
            return own(inputs, outputs, self, bias)
        return self._made(chosen, {"inputs": inputs, "outputs": outputs, "bias": bias})

    def output(self, shape: Sequence[int]) -> nn.Module:
        return OUTPUTS[self.pixel_range]() if len(shape) == 3 else nn.Identity()

    def output_kernel(self, own: int) -> int:
        self.placed.techniques.add("output_conv")
        return getattr(self.side, "output_conv", None) or own

    def hidden(self, channels: int, depth: int, size: int = 1) -> nn.Module:
        found = list[nn.Module]()
        self.placed.sizes.add(size)
        for pick in self.side.blocks:
            if block := self._made(pick, {"channels": channels, "size": size}):
                self.placed.techniques.add(f"blocks.{pick.entry.name}")
                found.append(block)
        if trick := self.tricks.hidden(self.player, channels, depth):
            found.append(trick)
        return nn.Sequential(*found) if found else nn.Identity()

    def summary(self, shape: Sequence[int]) -> Summary:
        return self.tricks.summary(tuple(shape)) or Summary(shape[0])

    def _made(self, pick: Pick, sizes: Mapping[str, int]) -> nn.Module:
        return cast(nn.Module, pick.made_of({"known": self.known, "layers": self, **sizes}))
